# 100 % of CIFAR-100's labels, from random weights.
_base_ = "./gpt2-medium_language_labels100_100e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
