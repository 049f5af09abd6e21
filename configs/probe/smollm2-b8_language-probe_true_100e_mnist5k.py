# A linear layer on 8 frozen blocks of SmolLM2, all of MNIST-5k.
# The frozen model runs in every epoch. Same numbers, far faster: tools/linear_probe.py.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/mnist5k.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/long.py",
]

batch_size = 128  # the paper's
trainable_layers = "none"
label_smoothing = 0.0
num_images = 4000  # all of them

model = dict(
    backbone=dict(trainable_layers=trainable_layers),
    neck=dict(type="lbbt_mm.StandardizeNeck", input_features=_base_.width),
    head=dict(
        num_classes=_base_.num_classes,
        loss=dict(_delete_=True, type="CrossEntropyLoss"),
        # The problem is convex, but 100 epochs do not forget where they began.
        init_cfg=dict(_delete_=True, type="Constant", layer="Linear", val=0.0),
    ),
)
train_dataloader = dict(batch_size=batch_size, dataset=dict(indices=num_images))
