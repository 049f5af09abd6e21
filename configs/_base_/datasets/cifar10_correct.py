# CIFAR-10 with its labels, wrapped and evaluated as the bridge is.
_base_ = "./cifar10_random100.py"

random_ratio = 0.0
random_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=random_labels)
val_dataloader = dict(dataset=random_labels)
