# DETR whose 12 + 12 layers are as wide as GPT-2 and compute in a GPT-2 block's order.

# often changed
language_model = "gpt2"
encoder_layers = 12
decoder_layers = 12
pretrained = True  # the language weights; False: the same layers from scratch
blocks = "0:12"  # block i goes into encoder layer i and into decoder layer i

# sometimes changed
dropout = 0.1  # DETR's own, and GPT-2's
backbone_checkpoint = "torchvision://resnet50"  # trained on ImageNet, by torchvision

# never changed: the language model's
width = 768  # channels
num_heads = 12
ffn_width = 3072  # channels
activation = dict(type="GELU", approximate="tanh")
norm = dict(type="LN", eps=1e-5)

attention = dict(
    embed_dims=width, num_heads=num_heads, dropout=dropout, batch_first=True
)
ffn = dict(
    embed_dims=width,
    feedforward_channels=ffn_width,
    num_fcs=2,
    ffn_drop=dropout,
    act_cfg=activation,
)
model = dict(
    type="lbbt_mm.PreNormDETR",
    num_queries=100,
    backbone=dict(
        type="ResNet",
        depth=50,
        num_stages=4,
        out_indices=(3,),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=False),
        norm_eval=True,
        style="pytorch",
        init_cfg=dict(type="Pretrained", checkpoint=backbone_checkpoint),
    ),
    neck=dict(
        type="ChannelMapper",
        in_channels=[2048],
        kernel_size=1,
        out_channels=width,
        act_cfg=None,
        norm_cfg=None,
        num_outs=1,
    ),
    encoder=dict(
        num_layers=encoder_layers,
        layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn, norm_cfg=norm),
        post_norm_cfg=norm,
    ),
    decoder=dict(
        num_layers=decoder_layers,
        layer_cfg=dict(
            self_attn_cfg=attention,
            cross_attn_cfg=attention,
            ffn_cfg=ffn,
            norm_cfg=norm,
        ),
        post_norm_cfg=norm,
        return_intermediate=True,
    ),
    positional_encoding=dict(num_feats=width // 2, normalize=True),
    bbox_head=dict(
        type="DETRHead",
        num_classes=80,
        embed_dims=width,
        loss_cls=dict(
            type="CrossEntropyLoss",
            bg_cls_weight=0.1,
            use_sigmoid=False,
            loss_weight=1.0,
            class_weight=1.0,
        ),
        loss_bbox=dict(type="L1Loss", loss_weight=5.0),
        loss_iou=dict(type="GIoULoss", loss_weight=2.0),
    ),
    train_cfg=dict(
        assigner=dict(
            type="HungarianAssigner",
            match_costs=[
                dict(type="ClassificationCost", weight=1.0),
                dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                dict(type="IoUCost", iou_mode="giou", weight=2.0),
            ],
        )
    ),
    test_cfg=dict(max_per_img=100),
)
# The paper says so of cross-attention: from the same block's self-attention.
language_init = dict(
    type="lbbt_mm.LanguageInitHook",
    language_model=language_model,
    pretrained=pretrained,
    copies=[
        dict(
            module="encoder.layers",
            blocks=blocks,
            final_norm="encoder.post_norm",
        ),
        dict(
            module="decoder.layers",
            blocks=blocks,
            cross_attention="self",
            final_norm="decoder.post_norm",
        ),
    ],
)
