# mmdet's schedule for DETR: 150 epochs, a tenth of the learning rate after 100.

# often changed
lr = 1e-4  # at batch 16: 8 GPUs x 2
max_epochs = 150
milestone = 100  # epochs

# sometimes changed
weight_decay = 1e-4
backbone_lr_mult = 0.1
val_interval = 1  # epochs

# never changed
grad_max_norm = 0.1

optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=lr, weight_decay=weight_decay),
    clip_grad=dict(max_norm=grad_max_norm, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={"backbone": dict(lr_mult=backbone_lr_mult, decay_mult=1.0)}
    ),
)
param_scheduler = [
    dict(
        type="MultiStepLR",
        begin=0,
        end=max_epochs,
        by_epoch=True,
        milestones=[milestone],
        gamma=0.1,
    )
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=val_interval)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=16)
