# CIFAR-100 with its labels: 50 000 images to train, 10 000 to test, 32x32.
_base_ = "./cifar10.py"

# often changed
data_root = "data/cifar100"  # holds cifar-100-python

# never changed
num_classes = 100
pixel_mean = [129.304, 124.070, 112.434]  # of CIFAR-100, RGB
pixel_std = [68.170, 65.392, 70.418]

data_preprocessor = dict(
    preprocessor=dict(num_classes=num_classes, mean=pixel_mean, std=pixel_std)
)
images = dict(type="CIFAR100", data_root=data_root)
train_dataloader = dict(dataset=images)
val_dataloader = dict(dataset=images)
test_dataloader = dict(dataset=images)
