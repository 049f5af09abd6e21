# Segmenter, ViT-T/16 on ADE20K: GPT-2 in the mask decoder.
_base_ = [
    "../_base_/models/segmenter-vit-t_gpt2.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/sgd_160k.py",
    "../_base_/runtime/mmseg.py",
]

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    backbone=dict(img_size=_base_.crop_size),
    decode_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(crop_size=_base_.crop_size, stride=_base_.stride),
)
custom_hooks = [*_base_.runtime_hooks, _base_.language_init]
