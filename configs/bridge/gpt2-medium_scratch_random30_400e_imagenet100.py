# ImageNet-100 with 30 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random30_400e_imagenet100.py"

model = dict(backbone=dict(pretrained=False))
