# The paper's DETR without language weights: the same architecture, freshly initialised.
_base_ = "./detr_gpt2init.py"

pretrained = False
language_init = dict(_base_.language_init, pretrained=pretrained)
custom_hooks = [*_base_.runtime_hooks, language_init]
