# Tiny-ImageNet-200 with 30 % of its labels redrawn at random.
_base_ = "./tiny-imagenet_random100.py"

random_ratio = 0.3
random_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=random_labels)
val_dataloader = dict(dataset=random_labels)
