# The bridge on CIFAR-10: every label at random, without language weights.
_base_ = "./gpt2-medium_language_random100_400e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
