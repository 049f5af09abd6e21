# CIFAR-10 with 1 % of its labels, the same share of each class. More labels:
# labels=0.1 max_epochs=200, labels=1.0 max_epochs=100.
_base_ = [
    "../_base_/models/gpt2-medium_224px.py",
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/adamw_400e.py",
    "../_base_/runtime/long.py",
]

# often changed
labels = 0.01  # a share of each class, or a whole number: how many in all
label_seed = 0  # of which ones

model = dict(head=dict(num_classes=_base_.num_classes))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="lbbt_mm.FewLabelDataset",
        labels=labels,
        seed=label_seed,
        dataset=_base_.train_dataloader.dataset,
    )
)
