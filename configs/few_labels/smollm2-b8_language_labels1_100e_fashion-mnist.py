# Fashion-MNIST with 1 % of its labels, the same share of each class. More labels:
# labels=0.1 max_epochs=30, labels=1.0 max_epochs=6.
_base_ = [
    "../_base_/models/smollm2-b8_28px.py",
    "../_base_/datasets/fashion-mnist.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

# often changed
labels = 0.01  # a share of each class, or a whole number: how many in all
label_seed = 0  # of which ones
max_epochs = 100
val_interval = 10  # epochs between validations

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
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
