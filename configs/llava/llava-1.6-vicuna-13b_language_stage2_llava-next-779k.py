# LLaVA-1.6, Vicuna-13B, second stage (table 10): all trains, vision encoder included.
# 8 processes and FSDP. Nothing of this size was run here. Every process reads
# the language model before it is sharded: 52 GB of memory each, not of its GPU.
_base_ = [
    "../_base_/models/llava-1.6-vicuna-13b.py",
    "../_base_/datasets/llava-next-779k.py",
    "../_base_/schedules/llava_stage2.py",
    "../_base_/runtime/llava_fsdp.py",
]

initialisation = "language" if _base_.pretrained else "scratch"
stage1 = f"llava-1.6-vicuna-13b_{initialisation}_stage1_llava-558k"
encoder_lr_mult = 0.1  # so 2e-6, LLaVA-NeXT's rate of its vision encoder

model = dict(train_language="all")
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys=dict(vision_encoder=dict(lr_mult=encoder_lr_mult)))
)
load_from = f"work_dirs/{stage1}/epoch_1.pth"
