# CIFAR-100, each image a class of its own. No annotation is read.
_base_ = "../datasets/cifar100.py"

# often changed
num_images = 50000  # all of them: as many classes

instances = dict(type="lbbt_mm.InstanceLabelDataset", num_classes=num_images)
train_images = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, **instances, dataset=train_images))
# A clean pass over the training images, against their numbers.
clean_images = dict(train_images, pipeline=_base_.clean_pipeline)
val_dataloader = dict(dataset=dict(_delete_=True, **instances, dataset=clean_images))
val_evaluator = dict(
    _delete_=True, type="lbbt_mm.BridgeAccuracy", label="instance_label"
)

objectives = [
    dict(name="instance", type="lbbt_mm.LabelObjective", num_classes=num_images)
]
