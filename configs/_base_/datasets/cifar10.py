# CIFAR-10 with its labels: 50 000 images to train, 10 000 to test, 32x32.

# often changed
data_root = "data/cifar10"  # holds cifar-10-batches-py

# sometimes changed
corruption = None  # of the test images, such as "gaussian_noise": docs/objectives.md
severity = 3  # of it, 1 to 5
batch_size = 64  # images a process
num_workers = 4

# never changed
num_classes = 10
enlarged_size = 224  # pixels, enlarged on the device as torchvision would
min_crop = 0.2  # share of the image's area, at least: the authors' code
pixel_mean = [125.307, 122.961, 113.8575]  # of CIFAR-10, RGB
pixel_std = [51.5865, 50.847, 51.255]

data_preprocessor = dict(
    type="lbbt_mm.EnlargeOnDevice",
    size=enlarged_size,
    mode="pillow-bicubic",
    preprocessor=dict(
        type="lbbt_mm.ClsDataPreprocessor",
        num_classes=num_classes,
        mean=pixel_mean,
        std=pixel_std,
        to_rgb=False,
    ),
)
# `true_label` goes along for the accuracies that are logged, never into the labels.
pack = dict(type="PackInputs", algorithm_keys=["true_label"])
train_pipeline = [
    dict(type="lbbt_mm.RandomAreaCrop", crop_ratio_range=(min_crop, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    pack,
]
clean_pipeline = [pack]
images = dict(type="CIFAR10", data_root=data_root)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=True,
)

train_dataloader = dict(
    **loader,
    collate_fn=dict(type="pseudo_collate"),  # crops differ in size
    dataset=dict(**images, split="train", pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    **loader,
    collate_fn=dict(type="default_collate"),
    dataset=dict(**images, split="test", pipeline=clean_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
# Images that were never seen, with their true labels.
recipe = dict(
    type="lbbt_mm.CorruptImage",
    corruption=corruption,
    severity=severity,
    channel_order="rgb",
)
test_pipeline = [recipe, *clean_pipeline] if corruption else clean_pipeline
test_dataloader = dict(
    val_dataloader, dataset=dict(val_dataloader["dataset"], pipeline=test_pipeline)
)
test_evaluator = val_evaluator
