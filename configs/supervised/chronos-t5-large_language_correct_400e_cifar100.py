# Chronos-T5, CIFAR-100 with its correct labels.
_base_ = [
    "../_base_/models/chronos-t5-large_224px.py",
    "../_base_/datasets/cifar100_correct.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=100))
