# LLaVA's first stage: one epoch, AdamW, 3 % warm-up, cosine to 0.

# often changed
lr = 1e-3  # at batch 256, of projector and vision encoder; LLaVA trains the first only
max_epochs = 1

# sometimes changed
weight_decay = 0.0
warmup = 0.03  # of all epochs

# never changed
grad_max_norm = 1.0

optim_wrapper = dict(
    type="lbbt_mm.AutocastOptimWrapper",  # bf16 on CPU and GPU
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay, fused=True),
    clip_grad=dict(max_norm=grad_max_norm),
)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-3,
        by_epoch=True,
        end=warmup * max_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        by_epoch=True,
        begin=warmup * max_epochs,
        end=max_epochs,
        eta_min=0.0,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=256)
