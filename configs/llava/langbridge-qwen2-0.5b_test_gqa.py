# LangBridge over Qwen2-0.5B, either arm after its second stage, on GQA.
_base_ = [
    "../_base_/models/langbridge-qwen2-0.5b.py",
    "../_base_/datasets/gqa.py",
    "../_base_/runtime/llava_epochs.py",
]

model = dict(dtype="bfloat16")
test_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
