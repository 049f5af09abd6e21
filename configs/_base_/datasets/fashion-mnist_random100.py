# Fashion-MNIST with uniform random labels.
_base_ = "./fashion-mnist.py"

# often changed
random_ratio = 1.0  # share of images whose label is redrawn
label_seed = 0
exclude_true_label = False  # True: as in the paper's tables, docs/random_labels.md

random_images = dict(
    type="lbbt_mm.RandomLabelDataset",
    dataset=_base_.train_dataloader.dataset,
    num_classes=_base_.num_classes,
    ratio=random_ratio,
    seed=label_seed,
    exclude_true_label=exclude_true_label,
)
train_dataloader = dict(dataset=dict(_delete_=True, **random_images))
# A clean pass over the training images, against the random and the true labels.
val_dataloader = dict(dataset=dict(_delete_=True, **random_images))
val_evaluator = dict(_delete_=True, type="lbbt_mm.BridgeAccuracy")
