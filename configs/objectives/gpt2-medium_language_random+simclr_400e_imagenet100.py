# GPT-2-medium's bridge on ImageNet-100, with random labels and SimCLR.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/objectives/imagenet100_random+simclr.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(type="lbbt_mm.BridgeClassifier", objectives=_base_.objectives)
