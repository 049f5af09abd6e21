# The same with LangBridge: an image in the language model's own words.
_base_ = "./llava-smollm2_language_stage2_plain-questions.py"

stage1 = "langbridge-smollm2_language_stage1_plain-questions"
temperature = 0.1  # at 1 all words weigh the same at first, and all images look alike

langbridge = dict(type="lbbt_mm.LangBridgeProjector", temperature=temperature)
model = dict(projector=dict(langbridge, _delete_=True))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
