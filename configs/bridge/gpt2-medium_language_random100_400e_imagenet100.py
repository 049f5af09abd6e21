# The bridge on ImageNet-100: every label at random.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet100_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
