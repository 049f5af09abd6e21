# LLaVA-1.5, Vicuna-7B, either arm after its second stage with LoRA, on MM-Vet.
_base_ = "./llava-1.5-7b_test_mm-vet.py"

out_file = "work_dirs/llava-1.5-7b_test-lora_mm-vet/answers.json"

model = dict(train_language=_base_.lora)
test_evaluator = dict(out_file=out_file)
