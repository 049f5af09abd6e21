# The stock post-norm DETR of MiniLM's width, without language weights.
_base_ = "./detr-r50-postnorm_minilm_language_8xb2-150e_coco.py"

custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=False)]
