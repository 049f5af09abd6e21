# Correct labels on CIFAR-10: the last block trained.
_base_ = "./gpt2-medium_language_correct_400e_cifar10.py"

model = dict(backbone=dict(trainable_layers="last:1"))
