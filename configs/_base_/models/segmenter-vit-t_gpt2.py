# Segmenter with a ViT-T/16 and a mask decoder of GPT-2's width, two blocks deep.
# The stock decoder is as wide as the ViT; here its input projection widens 192 to 768.
# mmcv's attention has a default for its dropout that a stock DETR, built earlier in the
# same process, writes 0.1 into, and mmseg's layers cannot be told otherwise: the import
# keeps it at 0.
custom_imports = dict(
    imports=["lbbt_mm.models.detection.dropout_leak"], allow_failed_imports=False
)

# often changed
language_model = "gpt2"
pretrained = True  # the language weights; False: the same layers from scratch
blocks = "0:2"  # block i goes into decoder layer i

# sometimes changed
drop_path_rate = 0.1  # of whole blocks, in encoder and decoder
# As in mmseg's own Segmenter: trained on ImageNet, at 384 pixels. Upstream keeps the
# same files under
# https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segmenter.
backbone_checkpoint = "https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segmenter/vit_tiny_p16_384_20220308-cce8c795.pth"  # noqa: E501

# never changed: the ViT's
vit_width = 192  # channels
vit_layers = 12
vit_heads = 3
vit_norm = dict(type="LN", eps=1e-6, requires_grad=True)
patch_size = 16  # pixels
# never changed: the language model's
width = 768  # channels
num_heads = 12
ffn_ratio = 4
activation = dict(type="GELU", approximate="tanh")
norm = dict(type="LN", eps=1e-5)

model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="VisionTransformer",
        patch_size=patch_size,
        in_channels=3,
        embed_dims=vit_width,
        num_layers=vit_layers,
        num_heads=vit_heads,
        drop_path_rate=drop_path_rate,
        attn_drop_rate=0.0,
        drop_rate=0.0,
        final_norm=True,
        norm_cfg=vit_norm,
        with_cls_token=True,
        interpolate_mode="bicubic",
        init_cfg=dict(type="Pretrained", checkpoint=backbone_checkpoint),
    ),
    decode_head=dict(
        type="SegmenterMaskTransformerHead",
        in_channels=vit_width,
        channels=vit_width,
        num_layers=2,
        num_heads=num_heads,
        embed_dims=width,
        mlp_ratio=ffn_ratio,
        drop_path_rate=drop_path_rate,
        drop_rate=0.0,
        attn_drop_rate=0.0,
        dropout_ratio=0.0,
        act_cfg=activation,
        norm_cfg=norm,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    test_cfg=dict(mode="slide"),
)
language_init = dict(
    type="lbbt_mm.LanguageInitHook",
    language_model=language_model,
    pretrained=pretrained,
    copies=[
        dict(
            module="decode_head.layers",
            blocks=blocks,
            final_norm="decode_head.decoder_norm",
        )
    ],
)
