# The paper's DETR in 50 epochs, without language weights.
_base_ = "./detr-r50_gpt2_language_8xb2-50e_coco.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
