# LLaVA-1.5, Vicuna-7B, after its second stage: on GQA, or on the set that
# `test_set` names. Either initialisation's checkpoint fits.
_base_ = [
    "../_base_/models/llava-1.5-7b.py",
    "../_base_/datasets/vqa.py",
    "../_base_/runtime/llava_epochs.py",
]

# often changed
with_lora = False  # True: the second stage was the one with LoRA
folder = "llava-1.5-7b_test-lora" if with_lora else "llava-1.5-7b_test"
out_file = f"work_dirs/{folder}_{_base_.test_set}/answers.json"

trained = dict(train_language=_base_.lora) if with_lora else {}
model = dict(dtype="bfloat16", **_base_.answers, **trained)
test_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
test_evaluator = dict(out_file=out_file) if _base_.test_set == "mm-vet" else {}
