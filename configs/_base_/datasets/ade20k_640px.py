# As ade20k.py, larger: crops of 640x640 from images of 640 on the short side.
_base_ = "./ade20k.py"

# never changed
img_scale = (2560, 640)  # pixels: the longest and the shortest edge, at most
crop_size = (640, 640)  # pixels; also of the windows that slide over a test image
stride = (608, 608)  # pixels between two windows

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

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
