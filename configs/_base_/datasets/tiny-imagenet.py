# Tiny-ImageNet-200 with its labels: 100 000 images to train, 10 000 to validate, 64x64.

# often changed
data_root = "data/tiny-imagenet-200"  # the folder that its zip file unpacks to

# sometimes changed
batch_size = 64  # images a process
num_workers = 4

# never changed
num_classes = 200
enlarged_size = 224  # pixels, enlarged from 64 on the device
pixel_mean = [123.675, 116.28, 103.53]  # of ImageNet, RGB
pixel_std = [58.395, 57.12, 57.375]

data_preprocessor = dict(
    type="lbbt_mm.EnlargeOnDevice",
    size=enlarged_size,
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
    dict(type="RandomCrop", crop_size=64, padding=8),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
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
