# The same detector on a ResNet-18 that starts from noise, with mmdet's FPN: what any
# backbone learns of these images.
_base_ = "./faster-rcnn_smollm2-b4_scratch_1xb4-24e_bccd.py"

# never changed: ResNet-18's stages
widths = [64, 128, 256, 512]  # channels

model = dict(
    backbone=dict(
        _delete_=True,
        type="ResNet",
        depth=18,
        norm_cfg=dict(type="GN", num_groups=32),  # batches are small
        norm_eval=False,
        style="pytorch",
    ),
    neck=dict(
        _delete_=True,
        type="FPN",
        in_channels=widths,
        out_channels=_base_.pyramid_channels,
        num_outs=5,
    ),
)
