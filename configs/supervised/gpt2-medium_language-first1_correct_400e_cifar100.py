# Correct labels on CIFAR-100: the first block trained.
_base_ = "./gpt2-medium_language_correct_400e_cifar100.py"

model = dict(backbone=dict(trainable_layers="first:1"))
