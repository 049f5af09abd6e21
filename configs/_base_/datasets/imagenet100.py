# ImageNet-100 with its labels: any 100 classes of ImageNet-1K. The paper names no list,
# so this is a plain folder of images: whoever compares with others uses their list.
_base_ = "./imagenet1k.py"

# often changed
data_root = "data/imagenet100"  # train/CLASS/*.JPEG and val/CLASS/*.JPEG

# sometimes changed
batch_size = 64  # images a process

# never changed
num_classes = 100

data_preprocessor = dict(num_classes=num_classes)
folder = dict(type="CustomDataset", data_root=data_root)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True, **folder, data_prefix="train", pipeline=_base_.train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True, **folder, data_prefix="val", pipeline=_base_.clean_pipeline
    ),
)
test_dataloader = val_dataloader
