# The quickstart's bridge on clothes instead of digits.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/fashion-mnist_random100.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
