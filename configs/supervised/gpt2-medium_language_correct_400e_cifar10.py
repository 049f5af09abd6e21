# GPT-2-medium on CIFAR-10 with its labels, wrapped and evaluated as the bridge is.
_base_ = "../bridge/gpt2-medium_language_random100_400e_cifar10.py"

random_ratio = 0.0
true_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=true_labels)
val_dataloader = dict(dataset=true_labels)
