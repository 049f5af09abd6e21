# Segmenter, ViT-S/16 on Pascal Context (59 classes), without language weights.
_base_ = "./segmenter-vit-s_gpt2_language_8xb1-160k_pascal-context59.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
