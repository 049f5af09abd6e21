# A short schedule for small models: AdamW, 1 000 iterations, warm-up, cosine.

# often changed
lr = 2e-4  # at batch 8
max_iters = 1_000

# sometimes changed
weight_decay = 1e-4
warmup = 100  # iterations
val_interval = 250  # iterations

# never changed
grad_max_norm = 1.0
lr_min = 1e-5

optim_wrapper = dict(
    type="lbbt_mm.AutocastOptimWrapper",  # bf16 on CPU and GPU
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay, fused=True),
    clip_grad=dict(max_norm=grad_max_norm),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup, by_epoch=False),
    dict(
        type="CosineAnnealingLR",
        eta_min=lr_min,
        begin=warmup,
        end=max_iters,
        by_epoch=False,
    ),
]
train_cfg = dict(by_epoch=False, max_iters=max_iters, val_interval=val_interval)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=8)
