# MiniLM's bridge on Fashion-MNIST, with random labels.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/objectives/fashion-mnist_random.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

model = dict(type="lbbt_mm.BridgeClassifier", objectives=_base_.objectives)
