# The same without language weights: with random labels and SimCLR.
_base_ = "./minilm_language_random+simclr_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
