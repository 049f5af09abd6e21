# The same with an eye from scratch.
_base_ = "./llava-1.5-7b_language_stage1_llava-558k.py"

model = dict(vision_encoder=dict(pretrained=False))
