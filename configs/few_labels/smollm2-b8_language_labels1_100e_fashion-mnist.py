# 1 % of Fashion-MNIST's labels, from language weights without a bridge.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/fashion-mnist_labels1.py",
    "../_base_/schedules/adamw_100e_batch32.py",
    "../_base_/runtime/default.py",
]
