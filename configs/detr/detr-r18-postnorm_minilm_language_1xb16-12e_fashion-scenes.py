# A small DETR on fashion scenes: MiniLM in the stock layers.
_base_ = [
    "../_base_/models/detr-r18-postnorm_minilm.py",
    "../_base_/datasets/fashion-scenes_detection.py",
    "../_base_/schedules/detr_12e_scratch.py",
    "../_base_/runtime/mmdet.py",
]

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    bbox_head=dict(num_classes=_base_.num_classes),
)
custom_hooks = [*_base_.runtime_hooks, dict(_base_.language_init, pretrained=True)]
