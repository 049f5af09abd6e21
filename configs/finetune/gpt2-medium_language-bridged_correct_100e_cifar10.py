# Fine-tuning on CIFAR-10 after the bridge: everything trains.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_100e.py",
    "../_base_/runtime/long.py",
]

# often changed
bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar10/epoch_400.pth"
)

model = dict(
    head=dict(num_classes=_base_.num_classes),
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        ),
    ),
)
