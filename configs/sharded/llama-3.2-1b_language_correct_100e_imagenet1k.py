# LLaMA-3.2-1B, ImageNet-1K with its correct labels (table 1): 8 processes.
_base_ = [
    "../_base_/models/llama-3.2-1b_224px.py",
    "../_base_/datasets/imagenet1k_correct.py",
    "../_base_/schedules/adamw_100e_batch192.py",
    "../_base_/runtime/fsdp.py",
]

batch_size = 24  # images a process
train_dataloader = dict(batch_size=batch_size)
model = dict(head=dict(num_classes=1000))
