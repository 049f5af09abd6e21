# ImageNet-1K with its labels: 1 281 167 images to train, 50 000 to validate.

# often changed
data_root = "data/imagenet"  # train/CLASS/*.JPEG and val/CLASS/*.JPEG, or meta/*.txt

# sometimes changed
batch_size = 32  # images a process
num_workers = 8

# never changed
num_classes = 1000
crop_size = 224  # pixels
erase_prob = 0.25  # share of images of which a part is painted in the mean colour
short_edge = 256  # pixels, before the centre is cut out
pixel_mean = [123.675, 116.28, 103.53]  # of ImageNet, RGB
pixel_std = [58.395, 57.12, 57.375]

data_preprocessor = dict(
    type="lbbt_mm.ClsDataPreprocessor",
    num_classes=num_classes,
    mean=pixel_mean,
    std=pixel_std,
    to_rgb=True,  # files are read as BGR
)
# `true_label` goes along for the accuracies that are logged, never into the labels.
pack = dict(type="PackInputs", algorithm_keys=["true_label"])
min_crop = 0.08  # share of the image's area, at least
resize = dict(backend="pillow", interpolation="bicubic")
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(
        type="RandomResizedCrop",
        scale=crop_size,
        crop_ratio_range=(min_crop, 1.0),
        **resize,
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
clean_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="ResizeEdge", scale=short_edge, edge="short", **resize),
    dict(type="CenterCrop", crop_size=crop_size),
    pack,
]
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
    collate_fn=dict(type="default_collate"),
)

train_dataloader = dict(
    **loader,
    dataset=dict(
        type="ImageNet", data_root=data_root, split="train", pipeline=train_pipeline
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
# The test images' labels are not public: what is called test is `val`, as everywhere.
val_dataloader = dict(
    **loader,
    dataset=dict(
        type="ImageNet", data_root=data_root, split="val", pipeline=clean_pipeline
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
