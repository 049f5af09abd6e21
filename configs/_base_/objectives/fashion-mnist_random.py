# Fashion-MNIST with random labels: the bridge itself, in the shape of the others.
_base_ = "../datasets/fashion-mnist_random100.py"

objectives = [
    dict(name="random", type="lbbt_mm.LabelObjective", num_classes=_base_.num_classes)
]
