# CIFAR-10 with 30 % of its labels at random.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10_random30.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]
