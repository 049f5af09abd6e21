# LangBridge over Qwen2-0.5B, first stage: 8 processes. Not run here.
_base_ = [
    "../_base_/models/langbridge-qwen2-0.5b.py",
    "../_base_/datasets/llava-558k.py",
    "../_base_/schedules/llava_stage1.py",
    "../_base_/runtime/llava_epochs.py",
]

model = dict(
    dtype="bfloat16", chat_template="plain", train_language="none", with_cp=True
)
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
