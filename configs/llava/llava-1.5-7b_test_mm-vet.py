# LLaVA-1.5, Vicuna-7B, either arm after its second stage, on MM-Vet.
_base_ = [
    "../_base_/models/llava-1.5-7b.py",
    "../_base_/datasets/mm-vet.py",
    "../_base_/runtime/llava_epochs.py",
]

max_new_tokens = 256
out_file = "work_dirs/llava-1.5-7b_test_mm-vet/answers.json"

model = dict(dtype="bfloat16", generation=dict(max_new_tokens=max_new_tokens))
test_evaluator = dict(out_file=out_file)
test_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
