# The encoder of Chronos-T5-large, a language model of time series, looks at 224x224
# images: the prior of the paper's table 13. The paper does not name the size; this one
# has GPT-2-medium's depth, width, heads and FFN. Its attention is bidirectional, as it
# was trained, and its positions are its own relative ones.

# often changed
language_model = "amazon/chronos-t5-large"
num_layers = 24  # blocks of the encoder, all of them

# sometimes changed
img_size = 224  # pixels
patch_size = 16  # pixels: 196 tokens an image
label_smoothing = 0.1
drop_rate = 0.1  # Chronos' own dropout
drop_path_rate = 0.1  # of whole blocks, as the paper says

# never changed
width = 1024  # channels of Chronos-T5-large
head_init_std = 0.02

model = dict(
    type="ImageClassifier",
    backbone=dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=language_model,
        pretrained=True,
        num_layers=num_layers,
        img_size=img_size,
        patch_size=patch_size,
        drop_rate=drop_rate,
        drop_path_rate=drop_path_rate,
    ),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=width,
        cal_acc=True,  # the running training accuracy in the log
        loss=dict(
            type="LabelSmoothLoss", label_smooth_val=label_smoothing, mode="original"
        ),
        init_cfg=dict(type="Normal", layer="Linear", std=head_init_std),
    ),
)
