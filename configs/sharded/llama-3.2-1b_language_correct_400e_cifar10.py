# LLaMA-3.2-1B, CIFAR-10 with its correct labels (table 1): 8 processes.
_base_ = [
    "../_base_/models/llama-3.2-1b_224px.py",
    "../_base_/datasets/cifar10_correct.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/fsdp.py",
]

batch_size = 8  # images a process
train_dataloader = dict(batch_size=batch_size)
