# Qwen2-7B with the vision encoder and the projector that Qwen2-0.5B's first stage
# trained, transferred by tools/transfer_projector.py: second stage, 8 processes, FSDP.
# Not run here. Each process reads the language model first: 30 GB, not of its GPU.
# Others: language_model=meta-llama/Meta-Llama-3-8B-Instruct transferred=FILE (32 GB),
# language_model=Qwen/Qwen2.5-14B-Instruct transferred=FILE (59 GB).
_base_ = [
    "../_base_/models/langbridge-qwen2-0.5b.py",
    "../_base_/datasets/llava-665k.py",
    "../_base_/schedules/llava_stage2.py",
    "../_base_/runtime/llava_fsdp.py",
]

language_model = "Qwen/Qwen2-7B-Instruct"
transferred = "work_dirs/langbridge-qwen2-0.5b_language_stage1_llava-558k/qwen2-7b.pth"

model = dict(language_model=language_model, train_language="all")
train_dataloader = dict(dataset=dict(pipeline=_base_.pipeline))
load_from = transferred
