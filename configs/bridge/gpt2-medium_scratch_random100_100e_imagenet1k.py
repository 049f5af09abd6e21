# The bridge on ImageNet-1K: every label at random, without language weights.
_base_ = "./gpt2-medium_language_random100_100e_imagenet1k.py"

model = dict(backbone=dict(pretrained=False))
