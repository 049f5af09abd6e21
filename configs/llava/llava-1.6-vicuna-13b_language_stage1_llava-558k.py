# LLaVA-1.6, Vicuna-13B, first stage (table 10): vision encoder and projector learn from
# captions. 8 processes, each with the frozen language model (26 GB). Not run here.
_base_ = [
    "../_base_/models/llava-1.6-vicuna-13b.py",
    "../_base_/datasets/llava-558k.py",
    "../_base_/schedules/llava_stage1.py",
    "../_base_/runtime/llava_epochs.py",
]

model = dict(
    dtype="bfloat16", chat_template="plain", train_language="none", with_cp=True
)
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
