# Chronos-T5, the bridge on CIFAR-100: every label at random, without its weights.
_base_ = "./chronos-t5-large_language_random100_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
