# As its twin, without language weights: the same layers, freshly initialised.
_base_ = "./detr-r18_small-gpt2_language_1xb8-2k_fashion-scenes.py"

pretrained = False
language_init = dict(_base_.language_init, pretrained=pretrained)
custom_hooks = [*_base_.runtime_hooks, language_init]
