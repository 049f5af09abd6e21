# Fine-tuning on CIFAR-10 after the bridge: everything trains.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

# often changed
bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar10/epoch_400.pth"
)
max_epochs = 100

# sometimes changed
val_interval = 10  # epochs between validations

model = dict(
    head=dict(num_classes=_base_.num_classes),
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        ),
    ),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
