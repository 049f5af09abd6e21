# Linear probe on MNIST-5k after the language bias bridge of the quickstart.
_base_ = "./smollm2-b8_language-probe_correct_100e_mnist5k.py"

bridge_checkpoint = "work_dirs/smollm2-b8_language_random100_6e_mnist5k/epoch_6.pth"
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        )
    )
)
