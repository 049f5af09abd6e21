# 100 % of Fashion-MNIST's labels, from language weights without a bridge.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/fashion-mnist_labels100.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]
