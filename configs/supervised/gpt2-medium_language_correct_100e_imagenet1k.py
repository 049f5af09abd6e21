# ImageNet-1K with its correct labels.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet1k_correct.py",
    "../_base_/schedules/adamw_100e_batch192.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=1000))
