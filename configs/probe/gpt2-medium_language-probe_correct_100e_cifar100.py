# Linear probe on CIFAR-100 of GPT-2-medium without a bridge.
# The frozen model runs in every epoch. Same numbers, far faster: tools/linear_probe.py.
_base_ = [
    "../_base_/models/gpt2-medium_224px_probe.py",
    "../_base_/datasets/cifar100_probe.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/default.py",
]

model = dict(head=dict(num_classes=100))
