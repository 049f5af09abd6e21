# CIFAR-100 with 1 % of its labels, the same share of each class.
_base_ = "./cifar100.py"

# often changed
labels = 0.01  # a share of each class, or a whole number: how many in all
label_seed = 0  # of which ones

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="lbbt_mm.FewLabelDataset",
        labels=labels,
        seed=label_seed,
        dataset=_base_.train_dataloader.dataset,
    )
)
