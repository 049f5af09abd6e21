# Qwen3-8B, the bridge on Tiny-ImageNet-200, without language weights.
_base_ = "./qwen3-8b_language_random100_400e_tiny-imagenet.py"

model = dict(backbone=dict(pretrained=False))
