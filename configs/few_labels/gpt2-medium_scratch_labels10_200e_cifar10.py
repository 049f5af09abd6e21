# 10 % of CIFAR-10's labels, from random weights.
_base_ = "./gpt2-medium_language_labels10_200e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
