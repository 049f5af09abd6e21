# SimCLR at the budget of the bridge on ImageNet-100: the same images seen, each in two
# views. mmpretrain's own, with the usual views of ImageNet.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet100_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

# often changed
temperature = 0.1

# sometimes changed
min_crop = 0.08  # share of the image's area in a view, at least
hidden, projected = 2048, 128  # channels of the projection

jitter = dict(type="ColorJitter", brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
view = [
    dict(
        type="RandomResizedCrop",
        scale=_base_.crop_size,
        crop_ratio_range=(min_crop, 1.0),
        **_base_.resize,
    ),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="RandomApply", transforms=[jitter], prob=0.8),
    dict(
        type="RandomGrayscale",
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.299),
    ),
    dict(
        type="GaussianBlur",
        magnitude_range=(0.1, 2.0),
        magnitude_std="inf",
        prob=0.5,
    ),
]
views = [
    dict(type="LoadImageFromFile"),
    dict(type="MultiView", num_views=2, transforms=[view]),
    _base_.pack,
]

model = dict(
    type="SimCLR",
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor",
        mean=_base_.pixel_mean,
        std=_base_.pixel_std,
        to_rgb=True,
    ),
    neck=dict(
        type="NonLinearNeck",
        in_channels=_base_.width,
        hid_channels=hidden,
        out_channels=projected,
        num_layers=2,
        with_avg_pool=False,
        norm_cfg=dict(type="BN1d"),
    ),
    head=dict(
        _delete_=True,
        type="ContrastiveHead",
        loss=dict(type="CrossEntropyLoss"),
        temperature=temperature,
    ),
)
# The labels are unused.
train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=views)),
    collate_fn=dict(type="default_collate"),
)
val_dataloader, val_evaluator, val_cfg = None, None, None
log_processor = dict(custom_cfg=[])  # there is no accuracy
custom_hooks = [*_base_.custom_hooks, dict(type="lbbt_mm.CostHook")]
