# MiniLM's bridge on Fashion-MNIST, with random labels.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/datasets/fashion-mnist_random100.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

objectives = [
    dict(name="random", type="lbbt_mm.LabelObjective", num_classes=_base_.num_classes)
]
model = dict(type="lbbt_mm.BridgeClassifier", objectives=objectives)
