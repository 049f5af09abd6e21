# The short bridge's recipe for 30 epochs.
_base_ = "./adamw_6e.py"

max_epochs = 30
val_interval = 5  # epochs between validations
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
