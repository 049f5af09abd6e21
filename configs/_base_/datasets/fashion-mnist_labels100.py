# Fashion-MNIST with all of its labels, in the same wrapper as the few.
_base_ = "./fashion-mnist_labels1.py"

labels = 1.0
train_dataloader = dict(dataset=dict(labels=labels))
