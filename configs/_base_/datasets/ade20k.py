# ADE20K, 150 classes, for Segmenter: crops of 512x512 from images of 512 on the short
# side, as in mmseg's configs.

# often changed
data_root = "data/ade/ADEChallengeData2016"  # holds images, annotations

# sometimes changed
batch_size = 1  # images a process
num_workers = 4
tta_ratios = [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]  # of tools/test.py --tta

# never changed
num_classes = 150
img_scale = (2048, 512)  # pixels: the longest and the shortest edge, at most
crop_size = (512, 512)  # pixels; also of the windows that slide over a test image
stride = (480, 480)  # pixels between two windows
pixel_mean = [127.5, 127.5, 127.5]  # as mmseg's ViT checkpoints were trained, RGB
pixel_std = [127.5, 127.5, 127.5]

data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
    pad_val=0,
    seg_pad_val=255,
    size=crop_size,
)
# LoadAnnotations asks the dataset whether 0 is a class or means "ignore".
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=img_scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size, cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=img_scale, keep_ratio=True),
    # After the resizing: the truth stays in pixels of the file.
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
# Several scales, each as it is and mirrored. The ratios are of `img_scale`, as in
# Segmenter's own code; mmseg's list applies them to the file as it is.
tta_views = [
    [dict(type="RandomFlip", prob=prob) for prob in (0.0, 1.0)],
    [dict(type="LoadAnnotations")],
    [dict(type="PackSegInputs")],
]
tta_scales = [tuple(int(ratio * edge) for edge in img_scale) for ratio in tta_ratios]
tta_resizes = [dict(type="Resize", scale=s, keep_ratio=True) for s in tta_scales]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *tta_views]),
]

loader = dict(num_workers=num_workers, persistent_workers=num_workers > 0)
train_dataloader = dict(
    **loader,
    batch_size=batch_size,
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(
            img_path="images/training", seg_map_path="annotations/training"
        ),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    **loader,
    batch_size=1,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ADE20KDataset",
        data_root=data_root,
        data_prefix=dict(
            img_path="images/validation", seg_map_path="annotations/validation"
        ),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type="IoUMetric", iou_metrics=["mIoU"])
# The test images' labels are not public: what is called test is `validation`.
test_dataloader = val_dataloader
test_evaluator = val_evaluator
