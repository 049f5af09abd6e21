# The bridge on ImageNet-100: every label at random, without language weights.
_base_ = "./gpt2-medium_language_random100_400e_imagenet100.py"

model = dict(backbone=dict(pretrained=False))
