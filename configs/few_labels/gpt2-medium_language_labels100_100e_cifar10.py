# 100 % of CIFAR-10's labels, from language weights without a bridge.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10_labels100.py",
    "../_base_/schedules/adamw_100e.py",
    "../_base_/runtime/long.py",
]
