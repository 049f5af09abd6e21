# CIFAR-100 with random labels, and a head of its own for the true labels of 1 %.
_base_ = "./cifar100_random.py"

# often changed
labels = 0.01  # a share of each class, or a whole number: how many true labels in all
few_seed = 0  # of which ones

# sometimes changed
labels_weight = 1.0

pack = dict(type="PackInputs", algorithm_keys=["true_label", "few_label"])
pipeline = [*_base_.train_pipeline[:-1], pack]
random_images = _base_.train_dataloader.dataset
labelled = dict(random_images, dataset=dict(random_images.dataset, pipeline=pipeline))
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="lbbt_mm.FewTrueLabelsDataset",
        labels=labels,
        seed=few_seed,
        field="few_label",
        dataset=labelled,
    )
)

few = dict(
    name="labels",
    type="lbbt_mm.LabelObjective",
    label="few_label",
    num_classes=_base_.num_classes,
    weight=labels_weight,
)
objectives = [*_base_.objectives, few]
