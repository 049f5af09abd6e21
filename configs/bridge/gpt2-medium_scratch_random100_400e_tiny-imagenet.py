# The bridge on Tiny-ImageNet-200: every label at random, without language weights.
_base_ = "./gpt2-medium_language_random100_400e_tiny-imagenet.py"

model = dict(backbone=dict(pretrained=False))
