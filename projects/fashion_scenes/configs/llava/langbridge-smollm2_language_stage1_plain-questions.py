# The same with LangBridge: an image in the language model's own words.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

model = dict(projector=dict(_base_.langbridge, _delete_=True))
