# The probes of the authors' linear_probe_comparison.py and main_linprobe_qwen.py: LARS
# with MAE's momentum, which scales matrices only; 10 epochs of warm-up, cosine to 0.

# often changed
lr = 0.05  # 0.1 x batch 128 / 256
max_epochs = 100

# sometimes changed
weight_decay = 0.0
warmup_epochs = 10
val_interval = 10  # epochs between tests

# never changed
momentum = 0.9
lr_min = 0.0

optim_wrapper = dict(
    type="lbbt_mm.AutocastOptimWrapper",  # bf16 on CPU and GPU
    optimizer=dict(type="LARS", lr=lr, momentum=momentum, weight_decay=weight_decay),
    paramwise_cfg=dict(custom_keys={"bias": dict(lars_exclude=True)}),
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
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
