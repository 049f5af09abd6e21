# 10 % of CIFAR-100's labels, after a bridge without labels.
_base_ = "./gpt2-medium_language_labels10_200e_cifar100.py"

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
