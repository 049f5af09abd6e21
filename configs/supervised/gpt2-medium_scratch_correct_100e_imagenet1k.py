# ImageNet-1K with its correct labels, without language weights.
_base_ = "./gpt2-medium_language_correct_100e_imagenet1k.py"

model = dict(backbone=dict(pretrained=False))
