# CIFAR-10 with uniform random labels, as the paper's bridge sees it.

# often changed
data_root = "data/cifar10"
random_ratio = 1.0  # share of images whose label is redrawn
label_seed = 0

# sometimes changed
batch_size = 64  # images a process
num_workers = 4

# never changed
num_classes = 10
enlarged_size = 224  # pixels, enlarged from 32
pixel_mean = [125.307, 122.961, 113.8575]  # of CIFAR-10, RGB
pixel_std = [51.5865, 50.847, 51.255]

data_preprocessor = dict(
    num_classes=num_classes, mean=pixel_mean, std=pixel_std, to_rgb=False
)
# `true_label` goes along for the accuracies that are logged, never into the labels.
pack = dict(type="PackInputs", algorithm_keys=["true_label"])
train_pipeline = [
    dict(type="RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="Resize", scale=enlarged_size, interpolation="bicubic"),
    pack,
]
clean_pipeline = [
    dict(type="Resize", scale=enlarged_size, interpolation="bicubic"),
    pack,
]
images = dict(type="CIFAR10", data_root=data_root)
random_labels = dict(
    type="lbbt_mm.RandomLabelDataset",
    num_classes=num_classes,
    ratio=random_ratio,
    seed=label_seed,
)
loader = dict(batch_size=batch_size, num_workers=num_workers, persistent_workers=True)

train_dataloader = dict(
    **loader,
    dataset=dict(
        **random_labels, dataset=dict(**images, split="train", pipeline=train_pipeline)
    ),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
# A clean pass over the training images, against the random and the true labels.
val_dataloader = dict(
    **loader,
    dataset=dict(
        **random_labels, dataset=dict(**images, split="train", pipeline=clean_pipeline)
    ),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="lbbt_mm.BridgeAccuracy")
# Images that were never seen, with their true labels.
test_dataloader = dict(
    **loader,
    dataset=dict(**images, split="test", pipeline=clean_pipeline),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
test_evaluator = dict(type="Accuracy", topk=(1,))
