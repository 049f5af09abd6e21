# The bridge on Tiny-ImageNet-200: every label at random.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/tiny-imagenet_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(head=dict(num_classes=_base_.num_classes))
