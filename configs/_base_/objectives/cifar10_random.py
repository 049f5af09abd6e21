# CIFAR-10 with random labels: the bridge itself, in the shape of the others.
_base_ = "../datasets/cifar10_random100.py"

objectives = [
    dict(name="random", type="lbbt_mm.LabelObjective", num_classes=_base_.num_classes)
]
