# LLaVA-1.5, Vicuna-7B, second stage (table 10): all trains, vision encoder included.
# 8 processes and FSDP. Nothing of this size was run here. Every process reads
# the language model before it is sharded: 28 GB of memory each, not of its GPU.
_base_ = [
    "../_base_/models/llava-1.5-7b.py",
    "../_base_/datasets/llava-665k.py",
    "../_base_/schedules/llava_stage2.py",
    "../_base_/runtime/llava_fsdp.py",
]

initialisation = "language" if _base_.pretrained else "scratch"
stage1 = f"llava-1.5-7b_{initialisation}_stage1_llava-558k"

model = dict(train_language="all")
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
load_from = f"work_dirs/{stage1}/epoch_1.pth"
