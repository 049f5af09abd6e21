# Linear probe on CIFAR-100 after the bridge of random blocks.
_base_ = "./gpt2-medium_language-bridged-probe_correct_100e_cifar100.py"

bridge_checkpoint = (
    "work_dirs/gpt2-medium_scratch_random100_400e_cifar100/epoch_400.pth"
)
model = dict(
    backbone=dict(pretrained=False, init_cfg=dict(checkpoint=bridge_checkpoint))
)
