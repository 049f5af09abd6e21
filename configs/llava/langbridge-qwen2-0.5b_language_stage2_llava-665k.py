# LangBridge over Qwen2-0.5B, second stage, whole: 8 processes. Not run here.
_base_ = [
    "../_base_/models/langbridge-qwen2-0.5b.py",
    "../_base_/datasets/llava-665k.py",
    "../_base_/schedules/llava_stage2.py",
    "../_base_/runtime/llava_epochs.py",
]

initialisation = "language" if _base_.pretrained else "scratch"
stage1 = f"langbridge-qwen2-0.5b_{initialisation}_stage1_llava-558k"

model = dict(train_language="all", with_cp=True)
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
load_from = f"work_dirs/{stage1}/epoch_1.pth"
