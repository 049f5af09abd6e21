# Linear probe on CIFAR-100 after the language bias bridge.
_base_ = "./gpt2-medium_language-probe_correct_100e_cifar100.py"

bridge_checkpoint = (
    "work_dirs/gpt2-medium_language_random100_400e_cifar100/epoch_400.pth"
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        )
    )
)
