# The same blocks, drawn at random, on MNIST-5k with correct labels.
_base_ = "./smollm2-b8_language_correct_6e_mnist5k.py"

model = dict(backbone=dict(pretrained=False))
