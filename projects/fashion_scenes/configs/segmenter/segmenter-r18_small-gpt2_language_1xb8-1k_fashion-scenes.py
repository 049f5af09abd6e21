# A small Segmenter on fashion scenes: the first half of a ResNet-18 that starts from
# noise, and a mask decoder as wide as the small GPT-2 of projects/small_gpt2/README.md.
_base_ = [
    "../../../../configs/_base_/models/segmenter-vit-t_gpt2.py",
    "../_base_/models/resnet18_scratch.py",
    "../_base_/datasets/fashion-scenes_segmentation.py",
    "../_base_/schedules/adamw_1k.py",
    "../../../../configs/_base_/runtime/mmseg.py",
]

# often changed
language_model = "work_dirs/small_gpt2"

# sometimes changed
drop_path_rate = 0.0  # short runs do not overfit

# never changed: the language model's
width = 384  # channels
num_heads = 6
# never changed: ResNet-18's second stage, an eighth of the image's side
channels = 128

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(
        _delete_=True,
        **_base_.resnet18,
        num_stages=2,
        strides=(1, 2),
        dilations=(1, 1),
        out_indices=(1,),
    ),
    decode_head=dict(
        in_channels=channels,
        channels=channels,
        num_heads=num_heads,
        embed_dims=width,
        drop_path_rate=drop_path_rate,
        num_classes=_base_.num_classes,
    ),
    test_cfg=dict(mode="whole"),
)
language_init = dict(_base_.language_init, language_model=language_model)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = [*_base_.runtime_hooks, language_init]
