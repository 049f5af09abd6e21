# The same without language weights: which tells images apart.
_base_ = "./minilm_language_instance_6e_fashion-mnist.py"

model = dict(backbone=dict(pretrained=False))
