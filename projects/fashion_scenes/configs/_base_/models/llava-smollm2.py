# LLaVA in small: all 30 blocks of SmolLM2-135M answer, its first four are the encoder.
_base_ = "./smollm2_encoder.py"

# often changed
langbridge = False  # True: LangBridge, an image in the language model's own words
initialisation = "language" if _base_.pretrained else "scratch"
encoder_checkpoint = (
    f"work_dirs/smollm2-b4_{initialisation}_1xb16-1200_plain-scenes/iter_1200.pth"
)

# sometimes changed
mlp_projector = dict(type="lbbt_mm.MLPProjector", depth=2)
# Weights of either sign: softmax does not learn in so few iterations. At this
# temperature a visual token starts as long as a word.
langbridge_projector = dict(
    type="lbbt_mm.LangBridgeProjector", weights="linear", temperature=35.0
)
max_new_tokens = 8
max_length = 512  # tokens of a conversation, the image's included

model = dict(
    type="lbbt_mm.LLaVA",
    language_model=_base_.language_model,
    dtype="bfloat16",  # of the frozen language model
    attention="eager",  # on a CPU faster than fused where tokens are few
    # It has seen the scenes' label maps, as LLaVA's has seen the web: ../../backbone.
    vision_encoder=dict(
        _base_.encoder,
        init_cfg=dict(
            type="Pretrained", checkpoint=encoder_checkpoint, prefix="backbone."
        ),
    ),
    projector=langbridge_projector if langbridge else mlp_projector,
    system="Answer in one word.",  # SmolLM2's own would be four times as long
    generation=dict(max_new_tokens=max_new_tokens),
    max_length=max_length,
)
