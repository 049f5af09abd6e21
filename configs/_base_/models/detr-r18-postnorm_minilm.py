# As detr-r18_small-gpt2.py, in the stock layers, whose order is MiniLM's: exact.
_base_ = ["./detr-r50-postnorm_minilm.py", "./resnet18_scratch.py"]

# often changed
num_queries = 10  # a scene has six garments at most

# sometimes changed
dropout = 0.0  # short runs do not overfit

# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256
neck_groups = 32  # noise in, so norm: the stock projection of a trained ResNet has none

attention = dict(dropout=dropout)
ffn = dict(ffn_drop=dropout)
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
        norm_cfg=dict(_delete_=True, type="GN", num_groups=neck_groups),
    ),
    encoder=dict(layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(
        layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)
    ),
    test_cfg=dict(max_per_img=num_queries),
)
