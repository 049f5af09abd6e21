# A small DETR on fashion scenes: the small GPT-2 in pre-norm layers.
_base_ = [
    "../_base_/models/detr-r18_small-gpt2.py",
    "../_base_/datasets/fashion-scenes_detection.py",
    "../_base_/schedules/detr_2k.py",
    "../_base_/runtime/mmdet_iters.py",
]

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(num_classes=_base_.num_classes),
)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = [*_base_.runtime_hooks, _base_.language_init]
