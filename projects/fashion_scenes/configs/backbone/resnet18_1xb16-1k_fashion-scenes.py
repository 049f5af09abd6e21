# The backbone of the small DETRs: three stages of a ResNet-18, trained from scratch on
# the label maps of the scenes. It stands where the paper's DETR has one of ImageNet.
_base_ = [
    "../_base_/models/resnet18_scratch.py",
    "../_base_/datasets/fashion-scenes_segmentation.py",
    "../_base_/schedules/adamw_1k.py",
    "../../../../configs/_base_/runtime/mmseg.py",
]

# often changed
lr = 1e-3  # at batch 16
batch_size = 16  # images a process

# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256

model = dict(
    type="EncoderDecoder",
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        **_base_.resnet18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    decode_head=dict(
        type="FCNHead",
        in_channels=channels,
        channels=channels,
        in_index=0,
        num_convs=0,  # classes are read off the features themselves
        concat_input=False,
        num_classes=_base_.num_classes,
        norm_cfg=_base_.resnet18.norm_cfg,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    test_cfg=dict(mode="whole"),
)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(type="InfiniteSampler", shuffle=True)
)
optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=batch_size)
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = _base_.runtime_hooks
