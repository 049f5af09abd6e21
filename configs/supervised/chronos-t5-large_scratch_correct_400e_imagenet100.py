# Chronos-T5, ImageNet-100 with its correct labels, without its weights.
_base_ = "./chronos-t5-large_language_correct_400e_imagenet100.py"

model = dict(backbone=dict(pretrained=False))
