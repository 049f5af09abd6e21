# Our linear probe: 100 epochs of AdamW at batch 128 (the paper's), cosine from the
# first step; float32 and the rates of tools/linear_probe.py.

# often changed
lr = 1e-3
max_epochs = 100

# sometimes changed
weight_decay = 0.05
val_interval = 10  # epochs between tests

# never changed
lr_min = 0.0

optim_wrapper = dict(
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay, fused=True),
    paramwise_cfg=dict(bias_decay_mult=0.0),
)
param_scheduler = dict(
    type="CosineAnnealingLR", eta_min=lr_min, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=val_interval)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=128)
