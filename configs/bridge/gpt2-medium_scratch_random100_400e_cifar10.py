# The paper's bridge on CIFAR-10 without language weights (table 4, "Bridge").
_base_ = "./gpt2-medium_language_random100_400e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
