# The same without language weights: with random labels and rotations.
_base_ = "./gpt2-medium_language_random+rotation_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
