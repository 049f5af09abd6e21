# The authors' probe P2 of DINOv2's ViT-L/14, as a run: batch norm without weights
# before the head, which LARS trains. Only DINO gets the batch norm there.
_base_ = [
    "../_base_/models/dinov2-vit-l14.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/probe_lars_100e.py",
    "../_base_/runtime/default.py",
]

batch_size = 128

model = dict(
    neck=dict(type="ClsBatchNormNeck", input_features=_base_.width),
    head=dict(
        num_classes=_base_.num_classes,
        cal_acc=True,  # the running training accuracy in the log
        init_cfg=dict(type="TruncNormal", layer="Linear", std=0.01),
    ),
)
# Their crop and flip, without AutoAugment and erasing.
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(pipeline=[*_base_.train_pipeline[:3], _base_.pack]),
)
