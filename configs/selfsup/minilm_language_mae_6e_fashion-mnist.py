# A masked autoencoder on the backbone and images of the bridge: mmpretrain's decoder
# and loss, and an encoder of language blocks that sees a quarter of the patches.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/datasets/fashion-mnist_random100.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

# often changed
mask_ratio = 0.75

# sometimes changed
decoder_width, decoder_layers, decoder_heads = 192, 2, 6

patches = (_base_.img_size // _base_.patch_size) ** 2

model = dict(
    type="MAE",
    data_preprocessor=dict(
        type="SelfSupDataPreprocessor", mean=_base_.pixel_mean, std=_base_.pixel_std
    ),
    backbone=dict(type="lbbt_mm.MaskedLanguageBackbone", mask_ratio=mask_ratio),
    neck=dict(
        type="MAEPretrainDecoder",
        num_patches=patches,
        patch_size=_base_.patch_size,
        in_chans=1,
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
        in_channels=1,
        loss=dict(type="PixelReconstructionLoss", criterion="L2"),
    ),
)
val_dataloader, val_evaluator, val_cfg = None, None, None
log_processor = dict(custom_cfg=[])  # there is no accuracy
custom_hooks = [*_base_.custom_hooks, dict(type="lbbt_mm.CostHook")]
