# The same without language weights: with random labels.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
