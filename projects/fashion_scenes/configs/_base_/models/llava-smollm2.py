# LLaVA in small: all 30 blocks of SmolLM2-135M answer, its first four are the encoder.
_base_ = "./smollm2_encoder.py"

# often changed
encoder_checkpoint = (
    "work_dirs/smollm2-b4_language_1xb16-1200_plain-scenes/iter_1200.pth"
)

# sometimes changed
projector = dict(type="lbbt_mm.MLPProjector", depth=2)
# Of the langbridge-* leaves. Weights of either sign: softmax does not learn in so few
# iterations. At this temperature a visual token starts as long as a word.
langbridge = dict(
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
    projector=projector,
    system="Answer in one word.",  # SmolLM2's own would be four times as long
    generation=dict(max_new_tokens=max_new_tokens),
    max_length=max_length,
)
