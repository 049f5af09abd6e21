# mmseg's schedule for Segmenter: 160 000 iterations of SGD, polynomial decay.

# often changed
lr = 1e-3  # at batch 8: 8 GPUs x 1
max_iters = 160_000

# sometimes changed
weight_decay = 0.0
val_interval = 16_000  # iterations

# never changed
momentum = 0.9
lr_min = 1e-4
lr_power = 0.9

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="SGD", lr=lr, momentum=momentum, weight_decay=weight_decay),
)
param_scheduler = [
    dict(
        type="PolyLR",
        eta_min=lr_min,
        power=lr_power,
        begin=0,
        end=max_iters,
        by_epoch=False,
    )
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=val_interval)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
