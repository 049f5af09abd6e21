# LLaMA-3.2-1B, the bridge on CIFAR-100, without language weights.
_base_ = "./llama-3.2-1b_language_random100_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
