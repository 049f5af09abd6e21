# CIFAR-10 with 10 % of its labels, the same share of each class.
_base_ = "./cifar10_labels1.py"

labels = 0.1
train_dataloader = dict(dataset=dict(labels=labels))
