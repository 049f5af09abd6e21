# All of MNIST-5k as the cached probe sees it: the paper's batch, no augmentation.
_base_ = "./mnist5k.py"

num_images = 4000  # all of them
batch_size = 128  # the paper's
train_dataloader = dict(batch_size=batch_size, dataset=dict(indices=num_images))
