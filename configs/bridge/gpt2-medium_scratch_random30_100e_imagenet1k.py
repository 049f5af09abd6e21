# ImageNet-1K with 30 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random30_100e_imagenet1k.py"

model = dict(backbone=dict(pretrained=False))
