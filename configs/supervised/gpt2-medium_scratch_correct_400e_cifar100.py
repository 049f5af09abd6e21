# CIFAR-100 with its correct labels, without language weights.
_base_ = "./gpt2-medium_language_correct_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
