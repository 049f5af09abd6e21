# MiniLM's bridge on Fashion-MNIST, with random labels, which also tells images apart.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# sometimes changed
instance_weight = 1.0

own_pipeline = [
    dict(type="PackInputs", algorithm_keys=["true_label", "instance_label"])
]
random_images = _base_.train_dataloader.dataset
labelled = dict(
    random_images, dataset=dict(random_images.dataset, pipeline=own_pipeline)
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="lbbt_mm.InstanceLabelDataset",
        num_classes=_base_.num_images,
        field="instance_label",
        dataset=labelled,
    )
)

instance = dict(
    name="instance",
    type="lbbt_mm.LabelObjective",
    label="instance_label",
    num_classes=_base_.num_images,
    weight=instance_weight,
)
objectives = [*_base_.objectives, instance]

model = dict(objectives=objectives)
