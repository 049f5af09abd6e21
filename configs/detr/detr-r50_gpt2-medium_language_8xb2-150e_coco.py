# DETR of GPT-2-medium's width: the first 12 of its 24 blocks.
_base_ = "../detr_gpt2init.py"

# often changed
language_model = "gpt2-medium"

# never changed: the language model's
width = 1024  # channels
num_heads = 16
ffn_width = 4096  # channels

attention = dict(embed_dims=width, num_heads=num_heads)
ffn = dict(embed_dims=width, feedforward_channels=ffn_width)
model = dict(
    neck=dict(out_channels=width),
    encoder=dict(layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)
    ),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(embed_dims=width),
)
language_init = dict(_base_.language_init, language_model=language_model)
custom_hooks = [*_base_.runtime_hooks, language_init]
