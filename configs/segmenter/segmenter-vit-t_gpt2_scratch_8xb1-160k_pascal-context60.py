# Segmenter, ViT-T/16 on Pascal Context (60 classes), without language weights.
_base_ = "./segmenter-vit-t_gpt2_language_8xb1-160k_pascal-context60.py"

pretrained = False
language_init = dict(_base_.language_init, pretrained=pretrained)
custom_hooks = [*_base_.runtime_hooks, language_init]
