# The same with a vision encoder from scratch.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

encoder_checkpoint = _base_.encoder_checkpoint.replace("_language_", "_scratch_")
encoder = dict(pretrained=False, init_cfg=dict(checkpoint=encoder_checkpoint))
model = dict(vision_encoder=encoder)
