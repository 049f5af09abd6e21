# As segmenter-vit-t_gpt2.py, with a ViT-S/16: its input projection widens 384 to 768.
_base_ = "./segmenter-vit-t_gpt2.py"

# sometimes changed
backbone_checkpoint = "https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segmenter/vit_small_p16_384_20220308-410f6037.pth"  # noqa: E501

# never changed: the ViT's
vit_width = 384  # channels
vit_heads = 6

model = dict(
    backbone=dict(
        embed_dims=vit_width,
        num_heads=vit_heads,
        init_cfg=dict(checkpoint=backbone_checkpoint),
    ),
    decode_head=dict(in_channels=vit_width, channels=vit_width),
)
