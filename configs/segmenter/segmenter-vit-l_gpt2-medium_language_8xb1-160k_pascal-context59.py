# Segmenter, ViT-L/16 on Pascal Context (59 classes): GPT-2-medium in the mask decoder.
_base_ = [
    "../_base_/models/segmenter-vit-l_gpt2-medium.py",
    "../_base_/datasets/pascal-context59.py",
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
