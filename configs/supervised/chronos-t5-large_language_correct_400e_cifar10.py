# Chronos-T5, CIFAR-10 with its correct labels.
_base_ = [
    "../_base_/models/chronos-t5-large_224px.py",
    "../_base_/datasets/cifar10_correct.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]
