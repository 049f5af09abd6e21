# 1 % of CIFAR-100's labels, from language weights without a bridge.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar100_labels1.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=100))
