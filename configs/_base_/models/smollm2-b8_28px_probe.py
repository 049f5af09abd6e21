# A linear layer on 8 frozen blocks of SmolLM2: what tools/linear_probe.py trains.
_base_ = "./smollm2-b8_28px.py"

label_smoothing = 0.0

model = dict(
    backbone=dict(trainable_layers="none"),
    neck=dict(type="lbbt_mm.StandardizeNeck", input_features=_base_.width),
    head=dict(
        loss=dict(_delete_=True, type="CrossEntropyLoss"),
        # The problem is convex, but 100 epochs do not forget where they began.
        init_cfg=dict(_delete_=True, type="Constant", layer="Linear", val=0.0),
    ),
)
