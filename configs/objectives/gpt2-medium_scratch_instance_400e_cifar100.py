# The same without language weights: which tells images apart.
_base_ = "./gpt2-medium_language_instance_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
