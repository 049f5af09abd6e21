# Qwen3-14B, the bridge on CIFAR-100, without language weights.
_base_ = "./qwen3-14b_language_random100_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
