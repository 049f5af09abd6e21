# LLaVA-1.5, Vicuna-7B, second stage with LoRA at LLaVA's rates. Not run here.
_base_ = [
    "../_base_/models/llava-1.5-7b.py",
    "../_base_/datasets/llava-665k.py",
    "../_base_/schedules/llava_stage2.py",
    "../_base_/runtime/llava_epochs.py",
]

# often changed
initialisation = "language" if _base_.pretrained else "scratch"
stage1 = f"llava-1.5-7b_{initialisation}_stage1_llava-558k"
lr = 2e-4  # at batch 128, of LoRA
lr_mult = 0.1  # so 2e-5, of projector and vision encoder

model = dict(dtype="bfloat16", with_cp=True, train_language=_base_.lora)
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
optim_wrapper = dict(
    optimizer=dict(lr=lr),
    paramwise_cfg=dict(
        custom_keys=dict(
            projector=dict(lr_mult=lr_mult), vision_encoder=dict(lr_mult=lr_mult)
        )
    ),
)
load_from = f"work_dirs/{stage1}/epoch_1.pth"
