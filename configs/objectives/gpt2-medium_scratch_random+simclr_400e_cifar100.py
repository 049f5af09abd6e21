# The same without language weights: with random labels and SimCLR.
_base_ = "./gpt2-medium_language_random+simclr_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
