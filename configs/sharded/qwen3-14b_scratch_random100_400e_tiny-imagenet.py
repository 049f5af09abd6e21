# Qwen3-14B, the bridge on Tiny-ImageNet-200, without language weights.
_base_ = "./qwen3-14b_language_random100_400e_tiny-imagenet.py"

model = dict(backbone=dict(pretrained=False))
