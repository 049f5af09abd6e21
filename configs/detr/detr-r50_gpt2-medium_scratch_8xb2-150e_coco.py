# DETR of GPT-2-medium's width, without language weights.
_base_ = "./detr-r50_gpt2-medium_language_8xb2-150e_coco.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
