# The same without language weights: which tells how an image is rotated.
_base_ = "./gpt2-medium_language_rotation_400e_imagenet100.py"

model = dict(backbone=dict(pretrained=False))
