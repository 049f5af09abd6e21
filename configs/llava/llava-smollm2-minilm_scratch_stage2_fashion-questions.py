# The same with an eye from scratch.
_base_ = "./llava-smollm2-minilm_language_stage2_fashion-questions.py"

stage1 = "llava-smollm2-minilm_scratch_stage1_fashion-questions"
model = dict(vision_encoder=dict(pretrained=False))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
