# As segmenter-vit-t_gpt2.py, with a ViT-L/16 and GPT-2-medium, which are equally wide.
_base_ = "./segmenter-vit-t_gpt2.py"

# often changed
language_model = "gpt2-medium"

# sometimes changed
backbone_checkpoint = "https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/segmenter/vit_large_p16_384_20220308-d4efb41d.pth"  # noqa: E501

# never changed: the ViT's
vit_width = 1024  # channels
vit_layers = 24
vit_heads = 16
# never changed: the language model's
width = 1024  # channels
num_heads = 16

model = dict(
    backbone=dict(
        embed_dims=vit_width,
        num_layers=vit_layers,
        num_heads=vit_heads,
        init_cfg=dict(checkpoint=backbone_checkpoint),
    ),
    decode_head=dict(
        in_channels=vit_width,
        channels=vit_width,
        embed_dims=width,
        num_heads=num_heads,
    ),
)
language_init = dict(language_model=language_model)
