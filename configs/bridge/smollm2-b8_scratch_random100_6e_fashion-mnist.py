# The same on clothes, from scratch: the same blocks, drawn at random.
_base_ = "./smollm2-b8_language_random100_6e_fashion-mnist.py"

pretrained = False
model = dict(backbone=dict(pretrained=pretrained))
