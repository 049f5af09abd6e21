# As detr_150e.py, for comparisons: 50 epochs, a tenth of the learning rate after 40.
_base_ = "./detr_150e.py"

# often changed
max_epochs = 50
milestone = 40  # epochs

param_scheduler = [
    dict(_base_.param_scheduler[0], end=max_epochs, milestones=[milestone])
]
train_cfg = dict(max_epochs=max_epochs)
