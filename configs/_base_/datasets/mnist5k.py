# MNIST-5k with its labels: 4 000 images to train, 1 000 to test, 28x28, grey.

# often changed
num_images = 2048  # of the 4 000, the same number of each class

# sometimes changed
batch_size = 32  # images a process
num_workers = 0  # the images are in memory: a worker would cost more than it saves

# never changed
num_classes = 10
pixel_mean, pixel_std = [33.3], [78.6]  # of MNIST, in grey levels

data_preprocessor = dict(
    type="lbbt_mm.ClsDataPreprocessor",
    num_classes=num_classes,
    mean=pixel_mean,
    std=pixel_std,
    to_rgb=False,
)
# `true_label` goes along for the accuracies that are logged, never into the labels.
pipeline = [dict(type="PackInputs", algorithm_keys=["true_label"])]
images = dict(
    type="lbbt_mm.MNIST5k", split="train", indices=num_images, pipeline=pipeline
)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
)

train_dataloader = dict(
    **loader,
    dataset=images,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    **loader,
    dataset=dict(type="lbbt_mm.MNIST5k", split="test", pipeline=pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
# Images that were never seen, with their true labels.
test_dataloader = val_dataloader
test_evaluator = val_evaluator
