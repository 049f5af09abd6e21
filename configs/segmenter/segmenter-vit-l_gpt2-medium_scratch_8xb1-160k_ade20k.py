# Segmenter, ViT-L/16 on ADE20K, without language weights.
_base_ = "./segmenter-vit-l_gpt2-medium_language_8xb1-160k_ade20k.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
