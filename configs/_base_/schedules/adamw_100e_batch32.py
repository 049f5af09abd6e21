# The short bridge's recipe for 100 epochs.
_base_ = "./adamw_6e.py"

max_epochs = 100
val_interval = 10  # epochs between validations
train_cfg = dict(max_epochs=max_epochs, val_interval=val_interval)
