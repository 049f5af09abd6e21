# The same without language weights: with random labels and 1 % of the true ones.
_base_ = "./minilm_language_random+labels_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
