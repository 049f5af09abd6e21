# Figure 2's model trained on images, as in the authors' code: a ViT-L/16. For
# tools/analyze.py --only outliers_as_released; the weights are mmpretrain's, trained on
# ImageNet-21k and then ImageNet-1K, at 384 pixels.
weights = (
    "https://download.openmmlab.com/mmclassification/v0/vit/finetune/"
    "vit-large-p16_in21k-pre-3rdparty_ft-64xb64_in1k-384_20210928-b20ba619.pth"
)

default_scope = "mmpretrain"
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="VisionTransformer",
        arch="l",
        img_size=384,
        patch_size=16,
        init_cfg=dict(type="Pretrained", checkpoint=weights, prefix="backbone."),
    ),
    head=dict(type="VisionTransformerClsHead", num_classes=1000, in_channels=1024),
)
