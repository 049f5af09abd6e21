# The paper's DETR: every layer starts from a block of GPT-2. 8 GPUs x 2 images.
_base_ = [
    "./_base_/models/detr-r50_gpt2.py",
    "./_base_/datasets/coco2017.py",
    "./_base_/schedules/detr_150e.py",
    "./_base_/runtime/mmdet.py",
]

model = dict(data_preprocessor=_base_.data_preprocessor)
custom_hooks = [*_base_.runtime_hooks, _base_.language_init]
