# Fashion scenes for mmdet: 4 000 to train, 500 to validate, 128x128, COCO's metric.
# make_scenes.py of this project makes them; its README.md describes them.

# often changed
data_root = "data/fashion_scenes"
train_ann_file = "detection/train.json"  # detection/tiny_train.json: 64 scenes
val_ann_file = "detection/val.json"  # detection/tiny_val.json: 32 scenes

# sometimes changed
img_size = 128  # pixels; as made, any other is resized to
batch_size = 8  # images a process
num_workers = 2

# never changed
num_classes = 10
pixel_mean, pixel_std = (
    [121.1, 121.7, 121.6],
    [49.9, 49.8, 49.9],
)  # of 4 000 scenes, RGB
metainfo = dict(
    classes=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    palette=[
        (230, 60, 60),
        (60, 120, 220),
        (60, 180, 75),
        (245, 150, 40),
        (150, 70, 190),
        (0, 190, 190),
        (250, 220, 60),
        (240, 90, 190),
        (160, 110, 60),
        (170, 220, 90),
    ],
)

data_preprocessor = dict(
    type="DetDataPreprocessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
)
# Changes nothing at the size that was made, but notes the factor of 1 that
# detectors divide their boxes by.
resize = dict(type="Resize", scale=(img_size, img_size), keep_ratio=True)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    resize,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    resize,
    # After the resizing: true boxes stay in pixels of the file.
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs"),
]
scenes = dict(type="CocoDataset", data_root=data_root, metainfo=metainfo)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
)

train_dataloader = dict(
    **loader,
    dataset=dict(
        **scenes,
        ann_file=train_ann_file,
        data_prefix=dict(img="images/training/"),
        # One scene in fifty is empty; it teaches, too.
        filter_cfg=dict(filter_empty_gt=False),
        pipeline=train_pipeline,
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    **loader,
    dataset=dict(
        **scenes,
        ann_file=val_ann_file,
        data_prefix=dict(img="images/validation/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(
    type="CocoMetric", ann_file=f"{data_root}/{val_ann_file}", metric="bbox"
)
# Their garments are images that Fashion-MNIST calls test images.
test_dataloader = val_dataloader
test_evaluator = val_evaluator
