# mmdet's Faster R-CNN on blood cells; its backbone is four blocks of SmolLM2-135M.
_base_ = [
    "mmdet::_base_/models/faster-rcnn_r50_fpn.py",
    "../_base_/models/smollm2_backbone.py",
    "../_base_/datasets/bccd.py",
    "../_base_/schedules/adamw.py",
    "../../../../configs/_base_/runtime/mmdet.py",
]

# sometimes changed: the stock config is made for images of 1333x800 and 80 classes
anchor_scales = [4]  # times the stride: 16 pixels on the finest level, as a platelet
fc_channels = 256
num_rois = 128  # of an image, for the box head's loss

channels = _base_.pyramid_channels
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(_delete_=True, **_base_.backbone, img_size=_base_.img_size),
    neck=dict(_delete_=True, **_base_.neck, strides=(4, 8, 16, 32, 64)),
    rpn_head=dict(
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=dict(scales=anchor_scales),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=channels),
        bbox_head=dict(
            in_channels=channels,
            fc_out_channels=fc_channels,
            num_classes=_base_.num_classes,
        ),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=1000, max_per_img=500),
        rcnn=dict(sampler=dict(num=num_rois)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=300)),
)
auto_scale_lr = dict(base_batch_size=_base_.batch_size)
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
