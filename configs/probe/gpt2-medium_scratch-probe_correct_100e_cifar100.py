# Linear probe on CIFAR-100 of random blocks without a bridge.
_base_ = "./gpt2-medium_language-probe_correct_100e_cifar100.py"

model = dict(backbone=dict(pretrained=False))
