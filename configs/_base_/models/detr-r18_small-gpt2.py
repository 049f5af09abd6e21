# A small DETR for fashion scenes: a ResNet-18 that starts from noise, and 6 + 6 layers
# as wide as the small GPT-2 of docs/small_gpt2.md, in its order: exact.
_base_ = ["./detr-r50_gpt2.py", "./resnet18_scratch.py"]

# often changed
language_model = "work_dirs/small_gpt2"
encoder_layers = 6
decoder_layers = 6
blocks = "0:6"  # block i goes into encoder layer i and into decoder layer i
num_queries = 10  # a scene has six garments at most

# sometimes changed
dropout = 0.0  # short runs do not overfit

# never changed: the language model's
width = 384  # channels
num_heads = 6
ffn_width = 1536  # channels
# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256
neck_groups = 32  # noise in, so norm: the stock projection of a trained ResNet has none

attention = dict(embed_dims=width, num_heads=num_heads, dropout=dropout)
ffn = dict(embed_dims=width, feedforward_channels=ffn_width, ffn_drop=dropout)
model = dict(
    num_queries=num_queries,
    backbone=dict(
        _delete_=True,
        **_base_.resnet18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    neck=dict(
        in_channels=[channels],
        out_channels=width,
        norm_cfg=dict(_delete_=True, type="GN", num_groups=neck_groups),
    ),
    encoder=dict(
        num_layers=encoder_layers,
        layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn),
    ),
    decoder=dict(
        num_layers=decoder_layers,
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn),
    ),
    positional_encoding=dict(num_feats=width // 2),
    bbox_head=dict(embed_dims=width),
    test_cfg=dict(max_per_img=num_queries),
)
copies = [
    dict(module="encoder.layers", blocks=blocks, final_norm="encoder.post_norm"),
    dict(
        module="decoder.layers",
        blocks=blocks,
        cross_attention="self",
        final_norm="decoder.post_norm",
    ),
]
language_init = dict(language_model=language_model, copies=copies)
