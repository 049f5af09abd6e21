# The same with a vision encoder from scratch.
_base_ = "./llava-smollm2-minilm_language_stage1_plain-questions.py"

model = dict(vision_encoder=dict(pretrained=False))
