# The bridge on ImageNet-1K: every label at random.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet1k_random100.py",
    "../_base_/schedules/adamw_100e_batch192.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
