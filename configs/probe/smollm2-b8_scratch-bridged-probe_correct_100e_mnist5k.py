# Linear probe on MNIST-5k after the bridge of random blocks.
_base_ = "./smollm2-b8_language-bridged-probe_correct_100e_mnist5k.py"

bridge_checkpoint = "work_dirs/smollm2-b8_scratch_random100_6e_mnist5k/epoch_6.pth"
model = dict(
    backbone=dict(pretrained=False, init_cfg=dict(checkpoint=bridge_checkpoint))
)
