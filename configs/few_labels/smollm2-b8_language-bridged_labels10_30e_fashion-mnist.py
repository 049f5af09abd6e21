# 10 % of Fashion-MNIST's labels, after a bridge without labels.
_base_ = "./smollm2-b8_language_labels10_30e_fashion-mnist.py"

bridge_checkpoint = (
    "work_dirs/smollm2-b8_language_random100_6e_fashion-mnist/epoch_6.pth"
)
model = dict(
    backbone=dict(
        init_cfg=dict(
            type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone."
        )
    )
)
