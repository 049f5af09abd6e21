# MiniLM's bridge on Fashion-MNIST, with random labels and rotations.
_base_ = "./minilm_language_random_6e_fashion-mnist.py"

# often changed
copies = 1  # rotations of each image: 1, as many images as elsewhere; 4, all of them
rotation_seed = 0

# sometimes changed
rotation_weight = 1.0

own_pipeline = [
    dict(type="PackInputs", algorithm_keys=["true_label", "rotation_label"])
]
random_images = _base_.train_dataloader.dataset
labelled = dict(
    random_images, dataset=dict(random_images.dataset, pipeline=own_pipeline)
)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type="lbbt_mm.RotationDataset",
        copies=copies,
        seed=rotation_seed,
        field="rotation_label",
        dataset=labelled,
    )
)

rotation = dict(
    name="rotation",
    type="lbbt_mm.LabelObjective",
    label="rotation_label",
    num_classes=4,
    weight=rotation_weight,
)
objectives = [*_base_.objectives, rotation]

model = dict(objectives=objectives)
