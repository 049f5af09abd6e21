# The same blocks, drawn at random, on Fashion-MNIST with correct labels.
_base_ = "./minilm_language_correct_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
