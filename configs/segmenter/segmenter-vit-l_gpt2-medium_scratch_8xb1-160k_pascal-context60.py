# Segmenter, ViT-L/16 on Pascal Context (60 classes), without language weights.
_base_ = "./segmenter-vit-l_gpt2-medium_language_8xb1-160k_pascal-context60.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
