# CIFAR-10 with 30 % of its labels at random, without language weights.
_base_ = "./gpt2-medium_language_random30_400e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
