# GPT-2-medium's bridge on CIFAR-10, which tells images apart.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/objectives/cifar10_instance.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(type="lbbt_mm.BridgeClassifier", objectives=_base_.objectives)
