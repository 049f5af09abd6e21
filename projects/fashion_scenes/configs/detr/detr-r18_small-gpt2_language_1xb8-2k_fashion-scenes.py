# A small DETR on fashion scenes: half a ResNet-18, and 3 + 3 pre-norm layers as wide as
# the small GPT-2 of projects/small_gpt2/README.md, in its order: exact.
_base_ = [
    "../../../../configs/_base_/models/detr-r50_gpt2.py",
    "../_base_/datasets/fashion-scenes_detection.py",
    "../_base_/schedules/detr_2k.py",
    "../_base_/runtime/mmdet_iters.py",
]

# often changed
language_model = "work_dirs/small_gpt2"
encoder_layers = 3
decoder_layers = 3
blocks = "0:3"  # block i goes into encoder layer i and into decoder layer i
num_queries = 10  # a scene has six garments at most

# sometimes changed
dropout = 0.0  # short runs do not overfit
# ../backbone trains it from scratch: with one that starts from noise, 500
# iterations did not bring a DETR to look at the image.
backbone_checkpoint = "work_dirs/resnet18_1xb16-1k_fashion-scenes/iter_1000.pth"

# never changed: the language model's
width = 384  # channels
num_heads = 6
ffn_width = 1536  # channels
# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256

attention = dict(embed_dims=width, num_heads=num_heads, dropout=dropout)
ffn = dict(embed_dims=width, feedforward_channels=ffn_width, ffn_drop=dropout)
model = dict(
    data_preprocessor=_base_.data_preprocessor,
    num_queries=num_queries,
    backbone=dict(
        depth=18,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        init_cfg=dict(checkpoint=backbone_checkpoint, prefix="backbone."),
    ),
    neck=dict(
        in_channels=[channels],
        out_channels=width,
        norm_cfg=dict(_delete_=True, type="GN", num_groups=32),
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
    bbox_head=dict(embed_dims=width, num_classes=_base_.num_classes),
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
language_init = dict(_base_.language_init, language_model=language_model, copies=copies)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = [*_base_.runtime_hooks, language_init]
