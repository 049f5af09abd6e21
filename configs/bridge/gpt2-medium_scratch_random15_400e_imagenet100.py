# ImageNet-100 with 15 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random15_400e_imagenet100.py"

model = dict(backbone=dict(pretrained=False))
