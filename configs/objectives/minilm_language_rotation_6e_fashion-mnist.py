# MiniLM's bridge on Fashion-MNIST, which tells how an image is rotated.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/datasets/fashion-mnist.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

# often changed
copies = 1  # rotations of each image: 1, as many images as elsewhere; 4, all of them
rotation_seed = 0

rotations = dict(type="lbbt_mm.RotationDataset", copies=copies, seed=rotation_seed)
train_images = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, **rotations, dataset=train_images))
# A clean pass over the training images, against their rotations.
val_dataloader = dict(dataset=dict(_delete_=True, **rotations, dataset=train_images))
val_evaluator = dict(
    _delete_=True, type="lbbt_mm.BridgeAccuracy", label="rotation_label"
)

objectives = [dict(name="rotation", type="lbbt_mm.LabelObjective", num_classes=4)]
model = dict(type="lbbt_mm.BridgeClassifier", objectives=objectives)
