# MiniLM's 6 blocks on Fashion-MNIST with correct labels.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/datasets/fashion-mnist_correct.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]
