# The paper's DETR without language weights: the same architecture, freshly initialised.
_base_ = "./detr_gpt2init.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
