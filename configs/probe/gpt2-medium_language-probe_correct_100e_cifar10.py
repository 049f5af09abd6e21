# Linear probe on CIFAR-10 of GPT-2-medium without a bridge.
# The frozen model runs in every epoch. Same numbers, far faster: tools/linear_probe.py.
_base_ = [
    "../_base_/models/gpt2-medium_224px_probe.py",
    "../_base_/datasets/cifar10_probe.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/default.py",
]
