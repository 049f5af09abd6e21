# The same from scratch.
_base_ = "./smollm2-b8_language_1xb16-600_fashion-scenes.py"

model = dict(backbone=dict(pretrained=False))
