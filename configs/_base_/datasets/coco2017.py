# COCO 2017 with the multi-scale training of DETR, as in mmdet's configs.

# often changed
data_root = "data/coco"  # train2017/*.jpg, val2017/*.jpg, annotations/instances_*.json

# sometimes changed
batch_size = 2  # images a process
num_workers = 2

# never changed
num_classes = 80
short_edges = [480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800]  # pixels
short_edges_before_crop = [400, 500, 600]  # pixels
crop_size = (384, 600)  # pixels, at least and at most
longest_edge = 1333  # pixels
pixel_mean = [123.675, 116.28, 103.53]  # of ImageNet, RGB
pixel_std = [58.395, 57.12, 57.375]

data_preprocessor = dict(
    type="DetDataPreprocessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
    pad_size_divisor=1,
)
resize = dict(
    type="RandomChoiceResize",
    scales=[(edge, longest_edge) for edge in short_edges],
    keep_ratio=True,
)
resize_before_crop = dict(
    resize, scales=[(edge, longest_edge) for edge in short_edges_before_crop]
)
crop = dict(
    type="RandomCrop",
    crop_type="absolute_range",
    crop_size=crop_size,
    allow_negative_crop=True,
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="RandomChoice", transforms=[[resize], [resize_before_crop, crop, resize]]
    ),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(longest_edge, max(short_edges)), keep_ratio=True),
    # After the resizing: true boxes stay in pixels of the file.
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    sampler=dict(type="DefaultSampler", shuffle=True),
    batch_sampler=dict(type="AspectRatioBatchSampler"),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
    drop_last=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(
    type="CocoMetric",
    ann_file=f"{data_root}/annotations/instances_val2017.json",
    metric="bbox",
    format_only=False,
)
# The test images' boxes are not public: what is called test is `val2017`.
test_dataloader = val_dataloader
test_evaluator = val_evaluator
