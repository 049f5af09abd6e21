# Pascal Context, 60 classes: as pascal-context59.py, with the background as a class.
_base_ = "./pascal-context59.py"

# never changed
num_classes = 60

dataset = dict(type="PascalContextDataset")
train_dataloader = dict(dataset=dataset)
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
