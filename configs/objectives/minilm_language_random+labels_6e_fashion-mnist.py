# MiniLM's bridge on Fashion-MNIST, with random labels and 1 % of the true ones.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
labels = 0.01  # a share of each class, or a whole number: how many true labels in all
few_seed = 0  # of which ones

# sometimes changed
labels_weight = 1.0

own_pipeline = [dict(type="PackInputs", algorithm_keys=["true_label", "few_label"])]
random_images = _base_.train_dataloader.dataset
labelled = dict(
    random_images, dataset=dict(random_images.dataset, pipeline=own_pipeline)
)
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

model = dict(objectives=objectives)
