# MiniLM's bridge on Fashion-MNIST, which tells images apart.
_base_ = [
    "../_base_/models/minilm_28px.py",
    "../_base_/datasets/fashion-mnist.py",
    "../_base_/schedules/adamw_6e.py",
    "../_base_/runtime/default.py",
]

instances = dict(type="lbbt_mm.InstanceLabelDataset", num_classes=_base_.num_images)
train_images = _base_.train_dataloader.dataset
train_dataloader = dict(dataset=dict(_delete_=True, **instances, dataset=train_images))
# A clean pass over the training images, against their numbers.
val_dataloader = dict(dataset=dict(_delete_=True, **instances, dataset=train_images))
val_evaluator = dict(
    _delete_=True, type="lbbt_mm.BridgeAccuracy", label="instance_label"
)

objectives = [
    dict(name="instance", type="lbbt_mm.LabelObjective", num_classes=_base_.num_images)
]
model = dict(type="lbbt_mm.BridgeClassifier", objectives=objectives)
