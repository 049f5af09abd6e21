# A small MLP on CIFAR-10 after the bridge: every block is frozen.
_base_ = [
    "../_base_/models/gpt2-medium_224px_mlp.py",
    "../_base_/datasets/cifar10_probe.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/default.py",
]

bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar10/epoch_400.pth"
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        )
    )
)
