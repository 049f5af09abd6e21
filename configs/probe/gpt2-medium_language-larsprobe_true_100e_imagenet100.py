# The authors' probe P2 (linear_probe_comparison.py, against DINO) on ImageNet-100: a
# new patch embedding, frozen like the blocks (dropout on); LARS trains the head.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet100.py",
    "../_base_/schedules/probe_lars_100e.py",
    "../_base_/runtime/default.py",
]

batch_size = 128
trainable_layers = "none"
label_smoothing = 0.0
drop_path_rate = 0.0

model = dict(
    backbone=dict(
        trainable_layers=trainable_layers,
        frozen_dropout=True,
        new_patch_embed=True,
        drop_path_rate=drop_path_rate,
    ),
    head=dict(
        num_classes=_base_.num_classes,
        loss=dict(_delete_=True, type="CrossEntropyLoss"),
    ),
)
# Their crop and flip, without AutoAugment and erasing.
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(pipeline=[*_base_.train_pipeline[:3], _base_.pack]),
)
