# The first stages of a ResNet-18 that starts from noise: mmdet's, and mmseg's. A model
# says how many stages it takes.
resnet18 = dict(
    type="ResNet",
    depth=18,
    norm_cfg=dict(type="BN", requires_grad=True),
    norm_eval=False,
    style="pytorch",
)
