# The stock post-norm DETR of GPT-2's width, without language weights.
_base_ = "./detr-r50-postnorm_gpt2_language_8xb2-150e_coco.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
