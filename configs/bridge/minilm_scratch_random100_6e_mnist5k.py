# The same blocks, drawn at random, on MNIST-5k with random labels.
_base_ = "./minilm_language_random100_6e_mnist5k.py"

model = dict(backbone=dict(pretrained=False))
