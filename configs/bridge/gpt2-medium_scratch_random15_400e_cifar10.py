# CIFAR-10 with 15 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random15_400e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
