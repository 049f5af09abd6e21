# 1 % of Fashion-MNIST's labels, from random weights.
_base_ = "./smollm2-b8_language_labels1_100e_fashion-mnist.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
