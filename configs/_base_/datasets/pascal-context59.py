# Pascal Context, 59 classes, the rest ignored; as ade20k.py, with Segmenter's sizes.
_base_ = "./ade20k.py"

# often changed
data_root = "data/VOCdevkit/VOC2010"  # JPEGImages, SegmentationClassContext, ImageSets

# never changed
num_classes = 59
img_scale = (520, 520)  # pixels: the longest and the shortest edge, at most
crop_size = (480, 480)  # pixels; also of the windows that slide over a test image
stride = (320, 320)  # pixels between two windows

data_preprocessor = dict(size=crop_size)
sizes = dict(
    Resize=dict(scale=img_scale),
    RandomResize=dict(scale=img_scale),
    RandomCrop=dict(crop_size=crop_size),
)
train_pipeline = [
    dict(step, **sizes.get(step.type, {})) for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, **sizes.get(step.type, {})) for step in _base_.test_pipeline
]
tta_scales = [
    tuple(int(ratio * edge) for edge in img_scale) for ratio in _base_.tta_ratios
]
tta_resizes = [dict(type="Resize", scale=s, keep_ratio=True) for s in tta_scales]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="TestTimeAug", transforms=[tta_resizes, *_base_.tta_views]),
]

images = dict(
    type="PascalContextDataset59",
    data_root=data_root,
    data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClassContext"),
)
lists = "ImageSets/SegmentationContext"
train_images = dict(images, ann_file=f"{lists}/train.txt", pipeline=train_pipeline)
test_images = dict(images, ann_file=f"{lists}/val.txt", pipeline=test_pipeline)
train_dataloader = dict(dataset=dict(train_images, _delete_=True))
val_dataloader = dict(dataset=dict(test_images, _delete_=True))
test_dataloader = val_dataloader
