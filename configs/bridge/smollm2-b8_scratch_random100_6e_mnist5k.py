# The quickstart's baseline: the same blocks, drawn at random.
_base_ = "./smollm2-b8_language_random100_6e_mnist5k.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
