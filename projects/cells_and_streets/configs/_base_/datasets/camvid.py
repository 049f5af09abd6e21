# CamVid for mmseg: 367 street scenes to train, 101 to validate, 233 to test, mean IoU.
# `python tools/prepare_data.py camvid` lays it out; void is ignored.

# often changed
data_root = "data/camvid"
img_suffix = ".png"  # ".jpg" where prepare_data.py says so

# sometimes changed
img_size = (192, 256)  # pixels, height and width; the files have 360x480
scale_range = (0.75, 1.5)  # of a training image, before the crop to img_size
batch_size = 4  # images a process
num_workers = 0  # workers take a CPU from the model where there are few

# never changed
num_classes = 11
ignore_index = 255  # void
pixel_mean, pixel_std = [105.1, 108.5, 110.3], [77.0, 78.1, 77.0]  # of training, RGB
metainfo = dict(
    classes=(
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    ),
    palette=[
        [128, 128, 128],
        [128, 0, 0],
        [192, 192, 128],
        [128, 64, 128],
        [60, 40, 222],
        [128, 128, 0],
        [192, 128, 128],
        [64, 64, 128],
        [64, 0, 128],
        [64, 64, 0],
        [0, 128, 192],
    ],
)

data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
    size=img_size,
    seg_pad_val=ignore_index,
)
scale = img_size[::-1]  # width, height: the order of Resize
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=scale, ratio_range=scale_range, keep_ratio=True),
    dict(type="RandomCrop", crop_size=img_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    # After the resizing: true labels stay those of the file.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
streets = dict(
    type="BaseSegDataset",
    data_root=data_root,
    metainfo=metainfo,
    img_suffix=img_suffix,
    ignore_index=ignore_index,
)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
)
train, val, test = (
    dict(img_path=f"images/{split}", seg_map_path=f"annotations/{split}")
    for split in ("train", "val", "test")
)

train_dataloader = dict(
    **loader,
    dataset=dict(**streets, data_prefix=train, pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    **loader,
    dataset=dict(**streets, data_prefix=val, test_mode=True, pipeline=test_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = dict(
    **loader,
    dataset=dict(**streets, data_prefix=test, test_mode=True, pipeline=test_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
test_evaluator = val_evaluator
