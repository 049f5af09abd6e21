# A masked autoencoder at the budget of the bridge on ImageNet-100. The encoder is
# causal, as GPT-2 is: it reads the visible patches in the image's order.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/imagenet100_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

# often changed
mask_ratio = 0.75

# sometimes changed
decoder_width, decoder_layers, decoder_heads = 512, 8, 16  # MAE's own

patches = (_base_.img_size // _base_.patch_size) ** 2

model = dict(
    type="MAE",
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor",
        mean=_base_.pixel_mean,
        std=_base_.pixel_std,
        to_rgb=True,
    ),
    backbone=dict(type="lbbt_mm.MaskedLanguageBackbone", mask_ratio=mask_ratio),
    neck=dict(
        type="MAEPretrainDecoder",
        num_patches=patches,
        patch_size=_base_.patch_size,
        embed_dim=_base_.width,
        decoder_embed_dim=decoder_width,
        decoder_depth=decoder_layers,
        decoder_num_heads=decoder_heads,
    ),
    head=dict(
        _delete_=True,
        type="MAEPretrainHead",
        norm_pix=True,
        patch_size=_base_.patch_size,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
)
val_dataloader, val_evaluator, val_cfg = None, None, None
log_processor = dict(custom_cfg=[])  # there is no accuracy
custom_hooks = [*_base_.custom_hooks, dict(type="lbbt_mm.CostHook")]
