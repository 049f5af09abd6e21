# ImageNet-1K with 15 % of its labels redrawn at random.
_base_ = "./imagenet1k_random100.py"

random_ratio = 0.15
random_labels = dict(ratio=random_ratio)
train_dataloader = dict(dataset=random_labels)
val_dataloader = dict(dataset=random_labels)
