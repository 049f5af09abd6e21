# The same with LangBridge: an image in the language model's own words.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

temperature = 0.1  # at 1 all words weigh the same at first, and all images look alike

langbridge = dict(type="lbbt_mm.LangBridgeProjector", temperature=temperature)
model = dict(projector=dict(langbridge, _delete_=True))
