# LLaMA-3.2-1B, CIFAR-100 with its correct labels, without language weights.
_base_ = "./llama-3.2-1b_language_correct_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
