# BCCD for mmdet: 205 images of blood cells to train, 87 to validate, 72 to test, COCO's
# metric. `python tools/prepare_data.py bccd` lays it out.

# often changed
data_root = "data/bccd"
train_ann_file = "annotations/instances_train.json"
val_ann_file = "annotations/instances_val.json"
test_ann_file = "annotations/instances_test.json"

# sometimes changed
img_size = (240, 320)  # pixels, height and width; the files have 480x640
scale_range = (0.8, 1.25)  # of a training image, before the crop to img_size
batch_size = 4  # images a process
num_workers = 0  # workers take a CPU from the model where there are few

# never changed
num_classes = 3
pixel_mean, pixel_std = (
    [188.2, 177.7, 182.4],
    [15.5, 26.0, 19.3],
)  # of the training images, RGB
metainfo = dict(
    classes=("Platelets", "RBC", "WBC"),
    palette=[(245, 150, 40), (230, 60, 60), (60, 60, 220)],
)

data_preprocessor = dict(
    type="DetDataPreprocessor",
    mean=pixel_mean,
    std=pixel_std,
    bgr_to_rgb=True,  # files are read as BGR
    pad_size_divisor=16,  # pixels: of a patch
)
scale = img_size[::-1]  # width, height: the order of mmdet's transforms
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=scale, ratio_range=scale_range, keep_ratio=True),
    dict(type="RandomCrop", crop_size=scale, allow_negative_crop=True),
    # Under a microscope there is no up.
    dict(
        type="RandomFlip",
        prob=[0.25, 0.25, 0.25],
        direction=["horizontal", "vertical", "diagonal"],
    ),
    dict(type="Pad", size=scale, pad_val=dict(img=tuple(pixel_mean[::-1]))),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    # After the resizing: true boxes stay in pixels of the file.
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
cells = dict(
    type="CocoDataset",
    data_root=data_root,
    metainfo=metainfo,
    data_prefix=dict(img="images/"),
)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
)

train_dataloader = dict(
    **loader,
    dataset=dict(**cells, ann_file=train_ann_file, pipeline=train_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=True),
)
val_dataloader = dict(
    **loader,
    dataset=dict(
        **cells, ann_file=val_ann_file, test_mode=True, pipeline=test_pipeline
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
test_dataloader = dict(
    **loader,
    dataset=dict(
        **cells, ann_file=test_ann_file, test_mode=True, pipeline=test_pipeline
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
)
val_evaluator = dict(
    type="CocoMetric", ann_file=f"{data_root}/{val_ann_file}", metric="bbox"
)
test_evaluator = dict(
    type="CocoMetric",
    ann_file=f"{data_root}/{test_ann_file}",
    metric="bbox",
    classwise=True,
)
