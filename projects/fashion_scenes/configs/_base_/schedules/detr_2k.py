# As adamw_1k.py, for a small DETR: 2 000 iterations, and a slow backbone.
_base_ = "./adamw_1k.py"

# often changed
max_iters = 2_000

# sometimes changed
backbone_lr_mult = 0.1  # as in the paper's DETR
val_interval = 500  # iterations

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=backbone_lr_mult)))
)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=val_interval)
