# The authors' probe P1 (main_finetune.py --linear_probe) on CIFAR-10: a new patch
# embedding trains with the head, through frozen blocks whose dropout is on.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/default.py",
]

# often changed
lr = 5e-4  # 1e-3 x batch 128 / 256
max_epochs = 100  # the paper's; 200 in the authors' linear_probe.sh

# sometimes changed
batch_size = 128
val_interval = 10  # epochs between tests
trainable_layers = "patch_embed"
drop_path_rate = 0.0

model = dict(
    backbone=dict(
        trainable_layers=trainable_layers,
        frozen_dropout=True,
        new_patch_embed=True,
        drop_path_rate=drop_path_rate,
    ),
    head=dict(num_classes=_base_.num_classes),
)
optim_wrapper = dict(optimizer=dict(lr=lr))
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
auto_scale_lr = dict(base_batch_size=128)
train_dataloader = dict(batch_size=batch_size)
