# 10 % of CIFAR-100's labels, from language weights without a bridge.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar100_labels10.py",
    "../_base_/schedules/adamw_200e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=100))
