# The same with a vision encoder from scratch.
_base_ = "./llava-smollm2-minilm_language_stage2_plain-questions.py"

stage1 = "llava-smollm2-minilm_scratch_stage1_plain-questions"
model = dict(vision_encoder=dict(pretrained=False))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
