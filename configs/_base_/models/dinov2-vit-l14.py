# DINOv2's frozen ViT-L/14, from mmpretrain's model zoo: table 7's outside reference.
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
    head=dict(type="LinearClsHead", num_classes=10, in_channels=width),
)
