# Partial bridge on CIFAR-100: the last block trained.
_base_ = "./gpt2-medium_language_random100_400e_cifar100.py"

model = dict(backbone=dict(trainable_layers="last:1"))
