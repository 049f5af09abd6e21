# LLaVA-1.5, Vicuna-7B, either arm after its second stage with LoRA, on ScienceQA.
_base_ = "./llava-1.5-7b_test_scienceqa.py"

model = dict(train_language=_base_.lora)
