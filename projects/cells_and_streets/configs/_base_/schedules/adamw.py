# AdamW as docs/plug_in.md has it, with warm-up and a cosine, per iteration.

# often changed
lr = 2e-4  # at batch 4
max_epochs = 24

# sometimes changed
weight_decay = 0.1
warmup_epochs = 2
val_interval = 4  # epochs
dtype = "auto"  # of products: "bfloat16", "float32", or what computes faster here

# never changed
grad_max_norm = 1.0
lr_min = 1e-6

optim_wrapper = dict(
    type="lbbt_mm.AutocastOptimWrapper",
    dtype=dtype,
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay, fused=True),
    clip_grad=dict(max_norm=grad_max_norm),
)
param_scheduler = [
    dict(
        type="LinearLR",
        start_factor=1e-3,
        by_epoch=True,
        end=warmup_epochs,
        convert_to_iter_based=True,
    ),
    dict(
        type="CosineAnnealingLR",
        eta_min=lr_min,
        by_epoch=True,
        begin=warmup_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=val_interval)
val_cfg = dict(type="lbbt_mm.AutocastValLoop", dtype=dtype)
test_cfg = dict(type="lbbt_mm.AutocastTestLoop", dtype=dtype)
