# The paper's recipe for 200 epochs.
_base_ = "./adamw_400e.py"

max_epochs = 200
val_interval = 10  # epochs between validations
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
