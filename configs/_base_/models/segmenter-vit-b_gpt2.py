# As segmenter-vit-t_gpt2.py, with a ViT-B/16: as wide as GPT-2.
_base_ = "./segmenter-vit-t_gpt2.py"

# sometimes changed
backbone_checkpoint = "https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segmenter/vit_base_p16_384_20220308-96dfe169.pth"  # noqa: E501

# never changed: the ViT's
vit_width = 768  # channels
vit_heads = 12

model = dict(
    backbone=dict(
        embed_dims=vit_width,
        num_heads=vit_heads,
        init_cfg=dict(checkpoint=backbone_checkpoint),
    ),
    decode_head=dict(in_channels=vit_width, channels=vit_width),
)
