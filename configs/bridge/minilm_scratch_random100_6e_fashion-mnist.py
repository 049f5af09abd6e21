# The same blocks, drawn at random, on Fashion-MNIST with random labels.
_base_ = "./minilm_language_random100_6e_fashion-mnist.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
