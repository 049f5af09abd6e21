# CIFAR-100 with all of its labels, in the same wrapper as the few.
_base_ = "./cifar100_labels1.py"

labels = 1.0
train_dataloader = dict(dataset=dict(labels=labels))
