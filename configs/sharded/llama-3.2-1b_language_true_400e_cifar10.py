# LLaMA-3.2-1B, CIFAR-10 with its true labels (table 1): 8 processes.
_base_ = [
    "../_base_/models/llama-3.2-1b_224px.py",
    "../_base_/datasets/cifar10_random100.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/fsdp.py",
]

batch_size = 8  # images a process
random_ratio = 0.0

true_labels = dict(ratio=random_ratio)
train_dataloader = dict(batch_size=batch_size, dataset=true_labels)
val_dataloader = dict(dataset=true_labels)
model = dict(head=dict(num_classes=_base_.num_classes))
