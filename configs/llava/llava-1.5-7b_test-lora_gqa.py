# LLaVA-1.5, Vicuna-7B, either arm after its second stage with LoRA, on GQA.
_base_ = "./llava-1.5-7b_test_gqa.py"

lora = dict(r=128, lora_alpha=256, lora_dropout=0.05, target_modules="all-linear")
model = dict(train_language=lora)
