# ImageNet-1K with uniform random labels.
_base_ = "./imagenet1k.py"

# often changed
random_ratio = 1.0  # share of images whose label is redrawn
label_seed = 0
exclude_true_label = False  # True: as in the paper's tables, docs/random_labels.md

random_labels = dict(
    type="lbbt_mm.RandomLabelDataset",
    num_classes=_base_.num_classes,
    ratio=random_ratio,
    seed=label_seed,
    exclude_true_label=exclude_true_label,
)
train_images = _base_.train_dataloader.dataset
train_dataloader = dict(
    dataset=dict(_delete_=True, **random_labels, dataset=train_images)
)
# A clean pass over the training images, against the random and the true labels.
clean_images = dict(train_images, pipeline=_base_.clean_pipeline)
val_dataloader = dict(
    dataset=dict(_delete_=True, **random_labels, dataset=clean_images)
)
val_evaluator = dict(_delete_=True, type="lbbt_mm.BridgeAccuracy")
