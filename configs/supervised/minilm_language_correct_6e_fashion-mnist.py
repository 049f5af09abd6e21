# MiniLM on Fashion-MNIST with its labels, wrapped and evaluated as the bridge is.
_base_ = "../bridge/minilm_language_random100_6e_fashion-mnist.py"

random_ratio = 0.0
true_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=true_labels)
val_dataloader = dict(dataset=true_labels)
