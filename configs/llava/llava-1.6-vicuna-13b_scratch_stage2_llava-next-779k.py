# The same with an eye from scratch.
_base_ = "./llava-1.6-vicuna-13b_language_stage2_llava-next-779k.py"

stage1 = "llava-1.6-vicuna-13b_scratch_stage1_llava-558k"
model = dict(vision_encoder=dict(pretrained=False))
load_from = f"work_dirs/{stage1}/epoch_1.pth"
