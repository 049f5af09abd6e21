# The authors' probe P3 (main_linprobe_qwen.py) on CIFAR-100: a new patch embedding
# trains with the head by LARS, through frozen blocks. 8 processes.
_base_ = [
    "../_base_/models/qwen3-8b_224px.py",
    "../_base_/datasets/cifar100.py",
    "../_base_/schedules/probe_lars_100e.py",
    "../_base_/runtime/fsdp.py",
]

batch_size = 16  # images a process, so 128 in all
trainable_layers = "patch_embed"
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
train_dataloader = dict(batch_size=batch_size)
