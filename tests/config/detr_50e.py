# The paper's DETR in 50 epochs, as a file of one's own says it.
_base_ = "../../configs/detr_gpt2init.py"

max_epochs = 50
milestone = 40  # epochs

param_scheduler = [
    dict(_base_.param_scheduler[0], end=max_epochs, milestones=[milestone])
]
train_cfg = dict(max_epochs=max_epochs)
