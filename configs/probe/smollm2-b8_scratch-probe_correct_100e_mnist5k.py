# The scratch arm: a linear layer on random blocks without a bridge.
_base_ = "./smollm2-b8_language-probe_correct_100e_mnist5k.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
