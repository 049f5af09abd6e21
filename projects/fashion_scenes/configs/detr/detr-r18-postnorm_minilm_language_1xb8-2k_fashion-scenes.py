# A small DETR on fashion scenes: as detr-r18_small-gpt2_*.py, in the stock layers,
# whose order is MiniLM's: exact.
_base_ = [
    "../../../../configs/_base_/models/detr-r50-postnorm_minilm.py",
    "../_base_/datasets/fashion-scenes_detection.py",
    "../_base_/schedules/detr_2k.py",
    "../_base_/runtime/mmdet_iters.py",
]

# often changed
encoder_layers = 3
decoder_layers = 3
blocks = "0:3"  # block i goes into encoder layer i and into decoder layer i
num_queries = 10  # a scene has six garments at most

# sometimes changed
dropout = 0.0  # short runs do not overfit
# ../backbone trains it from scratch: with one that starts from noise, 500
# iterations did not bring a DETR to look at the image.
backbone_checkpoint = "work_dirs/resnet18_1xb16-1k_fashion-scenes/iter_1000.pth"

# never changed: ResNet-18's third stage, a sixteenth of the image's side
channels = 256

attention = dict(dropout=dropout)
ffn = dict(ffn_drop=dropout)
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
    bbox_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(max_per_img=num_queries),
)
copies = [
    dict(module="encoder.layers", blocks=blocks),
    dict(module="decoder.layers", blocks=blocks, cross_attention="self"),
]
language_init = dict(_base_.language_init, copies=copies)
# A run of iterations draws without end, not once an epoch.
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
default_hooks = dict(checkpoint=dict(interval=_base_.val_interval))
custom_hooks = [*_base_.runtime_hooks, language_init]
