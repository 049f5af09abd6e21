# ImageNet-1K with 15 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random15_100e_imagenet1k.py"

model = dict(backbone=dict(pretrained=False))
