# Fashion-MNIST with its labels: 60 000 images to train, 10 000 to test, 28x28, grey.

# often changed
data_root = "data/fashion-mnist"  # the four idx files, .gz or not
num_images = 60000  # to train on

# sometimes changed
corruption = None  # of the test images, such as "gaussian_noise": docs/objectives.md
severity = 3  # of it, 1 to 5
batch_size = 32  # images a process
num_workers = 0  # the images are in memory: a worker would cost more than it saves

# never changed
num_classes = 10
pixel_mean, pixel_std = [72.9], [90.0]  # of Fashion-MNIST, in grey levels

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
    type="lbbt_mm.IdxDataset",
    data_root=data_root,
    classes="fashion_mnist",
    pipeline=pipeline,
)
loader = dict(
    batch_size=batch_size,
    num_workers=num_workers,
    persistent_workers=num_workers > 0,
)

train_dataloader = dict(
    **loader,
    dataset=dict(**images, split="train", indices=num_images),
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
)
val_dataloader = dict(
    **loader,
    dataset=dict(**images, split="test"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
)
val_evaluator = dict(type="Accuracy", topk=(1,))
# Images that were never seen, with their true labels.
recipe = dict(type="lbbt_mm.CorruptImage", corruption=corruption, severity=severity)
test_pipeline = [recipe, *pipeline] if corruption else pipeline
test_dataloader = dict(
    val_dataloader, dataset=dict(val_dataloader["dataset"], pipeline=test_pipeline)
)
test_evaluator = val_evaluator
