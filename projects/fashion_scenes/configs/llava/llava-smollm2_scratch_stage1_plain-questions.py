# The same with an eye from scratch.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

eye_checkpoint = _base_.eye_checkpoint.replace("_language_", "_scratch_")
eye = dict(pretrained=False, init_cfg=dict(checkpoint=eye_checkpoint))
model = dict(vision_encoder=eye)
