# The same with LangBridge: an image in the language model's own words.
_base_ = "./llava-smollm2_language_stage2_plain-questions.py"

stage1 = "langbridge-smollm2_language_stage1_plain-questions"
model = dict(projector=dict(_base_.langbridge, _delete_=True))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
