# For tools/test.py: the same without language weights.
_base_ = "./gpt2-medium_language_correct+entropy_400e_cifar100.py"

model = dict(classifier=dict(backbone=dict(pretrained=False)))
