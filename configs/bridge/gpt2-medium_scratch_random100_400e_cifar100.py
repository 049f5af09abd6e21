# The bridge on CIFAR-100: every label at random, without language weights.
_base_ = "./gpt2-medium_language_random100_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
