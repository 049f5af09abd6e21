# ImageNet-100 with random labels and SimCLR: two views of each image, with one label.
_base_ = "../datasets/imagenet100_random100.py"

# often changed
contrastive_weight = 1.0
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
train_dataloader = dict(
    dataset=dict(dataset=dict(pipeline=views)),
    collate_fn=dict(type="lbbt_mm.collate_views"),
)

simclr = dict(
    name="contrastive",  # mmengine logs what ends in lr as a learning rate
    type="lbbt_mm.ContrastiveObjective",
    neck=dict(
        type="NonLinearNeck",
        hid_channels=hidden,
        out_channels=projected,
        num_layers=2,
        with_avg_pool=False,
        norm_cfg=dict(type="BN1d"),
    ),
    head=dict(
        type="ContrastiveHead",
        loss=dict(type="CrossEntropyLoss"),
        temperature=temperature,
    ),
    weight=contrastive_weight,
)
random = dict(
    name="random", type="lbbt_mm.LabelObjective", num_classes=_base_.num_classes
)
objectives = [random, simclr]
