# GPT-2-medium's bridge on CIFAR-10, with random labels and 1 % of the true ones.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/objectives/cifar10_random+labels.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(type="lbbt_mm.BridgeClassifier", objectives=_base_.objectives)
