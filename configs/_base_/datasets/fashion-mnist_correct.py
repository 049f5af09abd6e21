# Fashion-MNIST with its labels, wrapped and evaluated as the bridge is.
_base_ = "./fashion-mnist_random100.py"

random_ratio = 0.0
random_images = dict(ratio=random_ratio)
train_dataloader = dict(dataset=random_images)
val_dataloader = dict(dataset=random_images)
