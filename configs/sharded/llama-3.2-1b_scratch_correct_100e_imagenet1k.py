# LLaMA-3.2-1B, ImageNet-1K with its correct labels, without language weights.
_base_ = "./llama-3.2-1b_language_correct_100e_imagenet1k.py"

model = dict(backbone=dict(pretrained=False))
