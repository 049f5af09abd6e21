# 1 % of CIFAR-100's labels, from random weights.
_base_ = "./gpt2-medium_language_labels1_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
