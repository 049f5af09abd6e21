# As its twin, without language weights: the same layers, freshly initialised.
_base_ = "./detr-r18_small-gpt2_language_1xb8-2k_fashion-scenes.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
