# Tiny-ImageNet-200 with its correct labels, without language weights.
_base_ = "./gpt2-medium_language_correct_400e_tiny-imagenet.py"

model = dict(backbone=dict(pretrained=False))
