# LLaVA-1.5, Vicuna-7B, either arm after its second stage, on ScienceQA.
_base_ = [
    "../_base_/models/llava-1.5-7b.py",
    "../_base_/datasets/scienceqa.py",
    "../_base_/runtime/llava_epochs.py",
]

model = dict(dtype="bfloat16")
test_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
