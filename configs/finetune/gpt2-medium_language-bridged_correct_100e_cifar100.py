# Fine-tuning on CIFAR-100 after the bridge: everything trains.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/adamw_100e.py",
    "../_base_/runtime/long.py",
]

bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar100/epoch_400.pth"
)
model = dict(
    head=dict(num_classes=100),
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        )
    ),
)
