# MNIST-5k with its labels, wrapped and evaluated as the bridge is.
_base_ = "./mnist5k_random100.py"

random_ratio = 0.0
random_images = dict(ratio=random_ratio)
train_dataloader = dict(dataset=random_images)
val_dataloader = dict(dataset=random_images)
