# SimCLR on the backbone and images of the bridge: mmpretrain's own, two views an image.
# Views, neck and head are those of the bridge that is trained on both.
_base_ = "../objectives/minilm_language_random+simclr_6e_fashion-mnist.py"

model = dict(
    _delete_=True,
    type="SimCLR",
    backbone=_base_.model.backbone,
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor", mean=_base_.pixel_mean, std=_base_.pixel_std
    ),
    neck=dict(**_base_.simclr.neck, in_channels=_base_.width),
    head=_base_.simclr.head,
)
train_dataloader = dict(
    collate_fn=dict(type="default_collate")
)  # the labels are unused
val_dataloader, val_evaluator, val_cfg = None, None, None
log_processor = dict(custom_cfg=[])  # there is no accuracy
custom_hooks = [*_base_.custom_hooks, dict(type="lbbt_mm.CostHook")]
