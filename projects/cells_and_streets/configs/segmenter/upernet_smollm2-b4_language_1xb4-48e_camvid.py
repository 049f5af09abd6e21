# mmseg's UPerNet on street scenes; its backbone is four blocks of SmolLM2-135M.
_base_ = [
    "../_base_/models/smollm2_backbone.py",
    "../_base_/datasets/camvid.py",
    "../_base_/schedules/adamw.py",
    "../../../../configs/_base_/runtime/mmseg.py",
]

# often changed
max_epochs = 48
val_interval = 6  # epochs

# As upernet_r50.py of mmseg, with the pyramid's channels in place of a ResNet's, and
# batch norm that a CPU has, too.
channels = _base_.pyramid_channels
head = dict(
    channels=channels,
    num_classes=_base_.num_classes,
    dropout_ratio=0.1,
    norm_cfg=dict(type="BN"),
    align_corners=False,
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(**_base_.backbone, img_size=_base_.img_size),
    neck=dict(**_base_.neck, strides=(4, 8, 16, 32)),
    decode_head=dict(
        type="UPerHead",
        in_channels=[channels] * 4,
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
        **head,
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=channels,
        in_index=2,
        num_convs=1,
        concat_input=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
        **head,
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
auto_scale_lr = dict(base_batch_size=_base_.batch_size)
# mmseg counts iterations; this run counts epochs, as the detector's.
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(interval=val_interval, by_epoch=True),
)
log_processor = dict(by_epoch=True)
custom_hooks = _base_.runtime_hooks
