# Tiny-ImageNet-200 with its labels: 100 000 images to train, 10 000 to validate, 64x64.

# often changed
data_root = "data/tiny-imagenet-200"  # the folder that its zip file unpacks to

# sometimes changed
batch_size = 64  # images a process
num_workers = 4

# never changed
num_classes = 200
enlarged_size = 224  # pixels; in training by the loader, else on the device
min_crop = 0.08  # share of the image's area, at least
erase_prob = 0.25  # share of images of which a part is painted in the mean colour
pixel_mean = [123.675, 116.28, 103.53]  # of ImageNet, RGB
pixel_std = [58.395, 57.12, 57.375]

data_preprocessor = dict(
    type="lbbt_mm.EnlargeOnDevice",
    size=enlarged_size,
    mode="pillow-bicubic",
    preprocessor=dict(
        type="lbbt_mm.ClsDataPreprocessor",
        num_classes=num_classes,
        mean=pixel_mean,
        std=pixel_std,
        to_rgb=True,  # files are read as BGR
    ),
)
# `true_label` goes along for the accuracies that are logged, never into the labels.
pack = dict(type="PackInputs", algorithm_keys=["true_label"])
train_pipeline = [
    dict(type="LoadImageFromFile"),
    # As on ImageNet, before AutoAugment: sharpness means another thing at 64 pixels.
    dict(
        type="RandomResizedCrop",
        scale=enlarged_size,
        crop_ratio_range=(min_crop, 1.0),
        backend="pillow",
        interpolation="bicubic",
    ),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    # The authors' code: torchvision's policy, black outside, and their erasing.
    dict(type="AutoAugment", policies="imagenet", hparams=dict(pad_val=0)),
    dict(
        type="RandomErasing",
        erase_prob=erase_prob,
        max_area_ratio=0.33,
        aspect_range=(0.3, 3.3),
        fill_color=pixel_mean[::-1],  # files are read as BGR
    ),
    pack,
]
clean_pipeline = [dict(type="LoadImageFromFile"), pack]
images = dict(type="lbbt_mm.TinyImageNet", data_root=data_root)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
)

train_dataloader = dict(
    **loader,
    dataset=dict(**images, split="train", pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
# The test images' labels are not public: what is called test is `val`, as everywhere.
val_dataloader = dict(
    **loader,
    dataset=dict(**images, split="val", pipeline=clean_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
