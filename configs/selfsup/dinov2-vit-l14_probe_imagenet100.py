# Table 7's outside reference: a linear probe of a ViT-L that DINO trained, with another
# recipe and on far more images. The paper says ViT-L/16 and names no weights, and DINO
# published none of that size: these are DINOv2's ViT-L/14, from mmpretrain's model zoo.
# For tools/linear_probe.py; nothing is trained.
_base_ = [
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/long.py",
]

weights = (
    "https://download.openmmlab.com/mmpretrain/v1.0/dinov2/"
    "vit-large-p14_dinov2-pre_3rdparty_20230426-f3302d9e.pth"
)
img_size, patch_size, width = 224, 14, 1024

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch="large",
        img_size=img_size,
        patch_size=patch_size,
        layer_scale_init_value=1e-5,
        frozen_stages=24,
        init_cfg=dict(type="Pretrained", checkpoint=weights, prefix="backbone."),
    ),
    head=dict(type="LinearClsHead", num_classes=_base_.num_classes, in_channels=width),
)
