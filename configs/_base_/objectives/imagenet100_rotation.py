# ImageNet-100, rotated by 0, 90, 180 or 270 degrees: which? No annotation is read.
_base_ = "../datasets/imagenet100.py"

# often changed
copies = 1  # rotations of each image: 1, as many images as elsewhere; 4, all of them
rotation_seed = 0

rotations = dict(type="lbbt_mm.RotationDataset", copies=copies, seed=rotation_seed)
train_images = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, **rotations, dataset=train_images))
# A clean pass over the training images, against their rotations.
clean_images = dict(train_images, pipeline=_base_.clean_pipeline)
val_dataloader = dict(dataset=dict(_delete_=True, **rotations, dataset=clean_images))
val_evaluator = dict(
    _delete_=True, type="lbbt_mm.BridgeAccuracy", label="rotation_label"
)

objectives = [dict(name="rotation", type="lbbt_mm.LabelObjective", num_classes=4)]
