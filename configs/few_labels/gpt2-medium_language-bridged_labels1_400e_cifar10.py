# 1 % of CIFAR-10's labels, after a bridge without labels.
_base_ = "./gpt2-medium_language_labels1_400e_cifar10.py"

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
