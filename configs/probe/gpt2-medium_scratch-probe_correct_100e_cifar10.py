# Linear probe on CIFAR-10 of random blocks without a bridge.
_base_ = "./gpt2-medium_language-probe_correct_100e_cifar10.py"

model = dict(backbone=dict(pretrained=False))
