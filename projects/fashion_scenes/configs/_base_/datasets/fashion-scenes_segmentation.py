# Fashion scenes for mmseg: 4 000 to train, 500 to validate, 128x128, mean IoU.
# make_scenes.py of this project makes them; its README.md describes them.

# often changed
data_root = "data/fashion_scenes"
train_ann_file = "segmentation/train.txt"  # segmentation/tiny_train.txt: 64 scenes
val_ann_file = "segmentation/val.txt"  # segmentation/tiny_val.txt: 32 scenes

# sometimes changed
img_size = 128  # pixels, as made
batch_size = 8  # images a process
num_workers = 2
tta_ratios = [0.75, 1.0, 1.25]  # of tools/test.py --tta

# never changed
# The background counts as a class. As in ADE20K it is 0 in the files: with
# reduce_zero_label=True and the ten other classes it would be ignored instead.
num_classes = 11
reduce_zero_label = False
pixel_mean, pixel_std = (
    [121.1, 121.7, 121.6],
    [49.9, 49.8, 49.9],
)  # of 4 000 scenes, RGB
garments = (
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
)
metainfo = dict(
    classes=("background", *garments),
    palette=[
        [90, 90, 90],
        [230, 60, 60],
        [60, 120, 220],
        [60, 180, 75],
        [245, 150, 40],
        [150, 70, 190],
        [0, 190, 190],
        [250, 220, 60],
        [240, 90, 190],
        [160, 110, 60],
        [170, 220, 90],
    ],
)

data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
    size=(img_size, img_size),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
# Several scales, each as it is and mirrored.
tta_views = [
    [dict(type="RandomFlip", prob=prob) for prob in (0.0, 1.0)],
    [dict(type="LoadAnnotations")],
    [dict(type="PackSegInputs")],
]
tta_sides = [int(ratio * img_size) for ratio in tta_ratios]
tta_resizes = [dict(type="Resize", scale=(s, s), keep_ratio=True) for s in tta_sides]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *tta_views]),
]
scenes = dict(
    type="BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    img_suffix=".png",
    reduce_zero_label=reduce_zero_label,
)
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
        data_prefix=dict(
            img_path="images/training", seg_map_path="annotations/training"
        ),
        pipeline=train_pipeline,
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    **loader,
    dataset=dict(
        **scenes,
        ann_file=val_ann_file,
        data_prefix=dict(
            img_path="images/validation", seg_map_path="annotations/validation"
        ),
        test_mode=True,
        pipeline=test_pipeline,
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
# Their garments are images that Fashion-MNIST calls test images.
test_dataloader = val_dataloader
test_evaluator = val_evaluator
