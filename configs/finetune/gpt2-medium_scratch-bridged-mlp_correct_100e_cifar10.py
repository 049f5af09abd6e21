# A small MLP on CIFAR-10 after the bridge of random blocks, which are frozen.
_base_ = "./gpt2-medium_language-bridged-mlp_correct_100e_cifar10.py"

bridge_checkpoint = "work_dirs/gpt2-medium_scratch_random100_400e_cifar10/epoch_400.pth"
model = dict(
    backbone=dict(pretrained=False, init_cfg=dict(checkpoint=bridge_checkpoint))
)
