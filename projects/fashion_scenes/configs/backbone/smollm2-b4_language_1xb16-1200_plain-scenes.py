# The vision encoder of the small LLaVAs learns to see before it meets them: the label
# maps of the training scenes, by language weights.
_base_ = [
    "../_base_/models/smollm2_encoder.py",
    "../_base_/datasets/plain-scenes_segmentation.py",
    "../_base_/schedules/adamw_1k.py",
    "../../../../configs/_base_/runtime/mmseg.py",
]

# often changed
lr = 1e-3  # at batch 16
max_iters = 1200
batch_size = 16  # images a process

model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(_base_.data_preprocessor, size=(_base_.encoder_size,) * 2),
    backbone=_base_.encoder,
    decode_head=dict(
        type="FCNHead",
        in_channels=_base_.width,
        channels=_base_.width,
        in_index=0,
        num_convs=0,  # classes are read off the features themselves
        concat_input=False,
        num_classes=_base_.num_classes,
        norm_cfg=dict(type="BN"),
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
    test_cfg=dict(mode="whole"),
)
resize = dict(type="Resize", scale=(_base_.encoder_size,) * 2, keep_ratio=False)
load, annotations, flip, pack = _base_.train_pipeline
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(pipeline=[load, annotations, resize, flip, pack]),
    sampler=dict(type="InfiniteSampler", shuffle=True),
)
val_dataloader = dict(dataset=dict(pipeline=[load, resize, annotations, pack]))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=lr))
auto_scale_lr = dict(base_batch_size=batch_size)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
warm_up, cosine = _base_.param_scheduler
param_scheduler = [warm_up, dict(cosine, end=max_iters)]
default_hooks = dict(checkpoint=dict(interval=max_iters))
custom_hooks = _base_.runtime_hooks
