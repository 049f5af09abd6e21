# As detr-r18_small-gpt2.py, in the stock layers, whose order is MiniLM's: exact.
_base_ = "./detr-r50-postnorm_minilm.py"

# often changed
num_queries = 25

# sometimes changed
dropout = 0.0  # short runs do not overfit

# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256

attention = dict(dropout=dropout)
ffn = dict(ffn_drop=dropout)
model = dict(
    num_queries=num_queries,
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        frozen_stages=-1,
        norm_cfg=dict(requires_grad=True),
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(in_channels=[channels]),
    encoder=dict(layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)
    ),
    test_cfg=dict(max_per_img=num_queries),
)
