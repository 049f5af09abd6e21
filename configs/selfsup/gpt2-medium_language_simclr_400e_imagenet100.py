# SimCLR at the budget of the bridge on ImageNet-100: the same images seen, each in two
# views. mmpretrain's own, with the usual views of ImageNet.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/objectives/imagenet100_random+simclr.py",  # its views, neck and head
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

model = dict(
    type="SimCLR",
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor",
        mean=_base_.pixel_mean,
        std=_base_.pixel_std,
        to_rgb=True,
    ),
    neck=dict(**_base_.simclr.neck, in_channels=_base_.width),
    head=dict(_delete_=True, **_base_.simclr.head),
)
train_dataloader = dict(
    collate_fn=dict(type="default_collate")
)  # the labels are unused
val_dataloader, val_evaluator, val_cfg = None, None, None
log_processor = dict(custom_cfg=[])  # there is no accuracy
custom_hooks = [*_base_.custom_hooks, dict(type="lbbt_mm.CostHook")]
