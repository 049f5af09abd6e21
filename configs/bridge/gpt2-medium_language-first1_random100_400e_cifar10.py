# Partial bridge on CIFAR-10: the first block trained.
_base_ = "./gpt2-medium_language_random100_400e_cifar10.py"

model = dict(backbone=dict(trainable_layers="first:1"))
