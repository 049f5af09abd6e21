# A short schedule for a DETR whose backbone starts from noise: 12 epochs, one learning
# rate for all, a warm-up, a tenth of the rate after 10 epochs.
_base_ = "./detr_150e.py"

# often changed
lr = 2e-4  # at batch 16
max_epochs = 12
milestone = 10  # epochs

# sometimes changed
warmup = 200  # iterations

optim_wrapper = dict(
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(custom_keys=dict(backbone=dict(lr_mult=1.0))),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup, by_epoch=False),
    dict(_base_.param_scheduler[0], end=max_epochs, milestones=[milestone]),
]
train_cfg = dict(max_epochs=max_epochs)
