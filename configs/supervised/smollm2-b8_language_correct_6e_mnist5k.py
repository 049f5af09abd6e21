# 8 blocks of SmolLM2 on MNIST-5k with correct labels.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/mnist5k_correct.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]
