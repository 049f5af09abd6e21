# The same without language weights: with random labels and rotations.
_base_ = "./minilm_language_random+rotation_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
