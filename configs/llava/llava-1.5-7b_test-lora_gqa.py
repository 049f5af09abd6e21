# LLaVA-1.5, Vicuna-7B, either arm after its second stage with LoRA, on GQA.
_base_ = "./llava-1.5-7b_test_gqa.py"

model = dict(train_language=_base_.lora)
