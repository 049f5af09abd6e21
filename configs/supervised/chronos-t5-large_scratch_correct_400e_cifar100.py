# Chronos-T5, CIFAR-100 with its correct labels, without its weights.
_base_ = "./chronos-t5-large_language_correct_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
