# A small Segmenter on fashion scenes: the small GPT-2 in the mask decoder.
_base_ = [
    "../_base_/models/segmenter-r18_small-gpt2.py",
    "../_base_/datasets/fashion-scenes_segmentation.py",
    "../_base_/schedules/adamw_1k.py",
    "../../../../configs/_base_/runtime/mmseg.py",
]

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    decode_head=dict(num_classes=_base_.num_classes),
)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = [*_base_.runtime_hooks, _base_.language_init]
