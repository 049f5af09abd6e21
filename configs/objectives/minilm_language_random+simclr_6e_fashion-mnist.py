# MiniLM's bridge on Fashion-MNIST, with random labels and SimCLR.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
contrastive_weight = 1.0
temperature = 0.1

# sometimes changed
min_crop = 0.5  # share of the image's area in a view, at least
hidden, projected = 384, 128  # channels of the projection

view = [
    dict(type="RandomResizedCrop", scale=28, crop_ratio_range=(min_crop, 1.0)),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
]
views = [dict(type="MultiView", num_views=2, transforms=[view]), *_base_.pipeline]
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
objectives = [*_base_.objectives, simclr]

model = dict(objectives=objectives)
