# CIFAR-10 with its correct labels, without language weights.
_base_ = "./gpt2-medium_language_correct_400e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
