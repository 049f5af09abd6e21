# Correct labels on CIFAR-100: the last 14 blocks trained.
_base_ = "./gpt2-medium_language_correct_400e_cifar100.py"

model = dict(backbone=dict(trainable_layers="last:14"))
