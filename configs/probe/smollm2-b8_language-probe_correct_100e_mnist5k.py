# The frozen model runs in every epoch. Same numbers, far faster: tools/linear_probe.py.
_base_ = [
    "../_base_/models/smollm2-b8_28px_probe.py",
    "../_base_/datasets/mnist5k_probe.py",
    "../_base_/schedules/probe_100e.py",
    "../_base_/runtime/long.py",
]
