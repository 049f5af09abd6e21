# Qwen3-8B, the bridge on Tiny-ImageNet-200 (table 5): 8 processes.
_base_ = [
    "../_base_/models/qwen3-8b_224px.py",
    "../_base_/datasets/tiny-imagenet_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/fsdp.py",
]

batch_size = 8  # images a process
train_dataloader = dict(batch_size=batch_size)
model = dict(head=dict(num_classes=_base_.num_classes))
