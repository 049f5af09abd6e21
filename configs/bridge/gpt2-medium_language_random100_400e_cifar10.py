# The paper's bridge on CIFAR-10 (table 4, "Language Bias Bridge").
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/default.py",
]
