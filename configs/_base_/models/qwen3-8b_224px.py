# Qwen3-8B looks at 224x224 images, sharded over GPUs. Qwen3-14B:
# language_model=Qwen/Qwen3-14B num_layers=40 width=5120

# often changed
language_model = "Qwen/Qwen3-8B"
num_layers = 36  # blocks, all of them
pretrained = True  # the language weights; False: the same blocks from scratch
trainable_layers = "all"  # or 'first:5', 'last:14', 'none': docs/get_started.md
bridge_checkpoint = None  # a bridge's file whose backbone this model starts from

# sometimes changed
img_size = 224  # pixels
patch_size = 16  # pixels: 196 tokens an image
label_smoothing = 0.1
drop_path_rate = 0.1  # of whole blocks, as the paper says; the family has no dropout

# follows the model
width = 4096  # channels of Qwen3-8B
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
        drop_path_rate=drop_path_rate,
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
