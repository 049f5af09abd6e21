# A small MLP on CIFAR-100 after the bridge: every block is frozen.
_base_ = [
    "../_base_/models/gpt2-medium_224px_mlp.py",
    "../_base_/datasets/cifar100_probe.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/default.py",
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
