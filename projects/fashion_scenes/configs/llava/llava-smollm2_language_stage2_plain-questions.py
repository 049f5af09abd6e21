# Second stage: vision encoder, projector and LoRA in the language model learn from
# questions.
_base_ = [
    "../_base_/models/llava-smollm2.py",
    "../_base_/datasets/plain-questions.py",
    "../_base_/schedules/llava_small.py",
    "../_base_/runtime/llava.py",
]

# often changed
model_name = "langbridge-smollm2" if _base_.langbridge else "llava-smollm2"
stage1 = f"{model_name}_{_base_.initialisation}_stage1_plain-questions"
iters = 500
lora = dict(r=16, lora_alpha=32, target_modules="all-linear")

model = dict(
    data_preprocessor=_base_.data_preprocessor,
    vision_encoder=dict(init_cfg=None),  # the first stage's checkpoint holds it
    train_language=lora,
)
train_dataloader = dict(sampler=dict(type="InfiniteSampler", shuffle=True))
train_cfg = dict(max_iters=iters, val_interval=iters)
warm_up, cosine = _base_.param_scheduler
param_scheduler = [warm_up, dict(cosine, end=iters)]
default_hooks = dict(checkpoint=dict(interval=iters))
load_from = f"work_dirs/{stage1}/iter_{_base_.max_iters}.pth"
