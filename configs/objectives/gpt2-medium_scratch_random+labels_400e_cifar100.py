# The same without language weights: with random labels and 1 % of the true ones.
_base_ = "./gpt2-medium_language_random+labels_400e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
