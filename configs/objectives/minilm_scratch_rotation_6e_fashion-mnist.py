# The same without language weights: which tells how an image is rotated.
_base_ = "./minilm_language_rotation_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
