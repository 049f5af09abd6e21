# LLaVA-1.6, Mistral-7B, after its second stage: on GQA, or on the set that
# `test_set` names. Either initialisation's checkpoint fits.
_base_ = [
    "../_base_/models/llava-1.6-mistral-7b.py",
    "../_base_/datasets/vqa.py",
    "../_base_/runtime/llava_epochs.py",
]

# often changed
out_file = f"work_dirs/llava-1.6-mistral-7b_test_{_base_.test_set}/answers.json"

model = dict(dtype="bfloat16", **_base_.answers)
test_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
test_evaluator = dict(out_file=out_file) if _base_.test_set == "mm-vet" else {}
