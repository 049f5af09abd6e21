# GPT-2-medium on ImageNet-1K with its labels, wrapped and evaluated as the bridge is.
_base_ = "../bridge/gpt2-medium_language_random100_100e_imagenet1k.py"

random_ratio = 0.0
true_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=true_labels)
val_dataloader = dict(dataset=true_labels)
