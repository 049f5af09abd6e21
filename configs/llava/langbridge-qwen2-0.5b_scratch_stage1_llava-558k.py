# The same with an eye from scratch.
_base_ = "./langbridge-qwen2-0.5b_language_stage1_llava-558k.py"

model = dict(vision_encoder=dict(pretrained=False))
