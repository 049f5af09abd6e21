# CIFAR-10 as the cached probe sees it: the paper's batch, no augmentation.
_base_ = "./cifar10.py"

batch_size = 128  # the paper's
train_dataloader = dict(
    batch_size=batch_size, dataset=dict(pipeline=_base_.clean_pipeline)
)
