# The same from scratch.
_base_ = "./smollm2-b4_language_1xb16-1200_plain-scenes.py"

model = dict(backbone=dict(pretrained=False))
