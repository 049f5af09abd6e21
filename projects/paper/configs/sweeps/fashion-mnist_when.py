# When do language weights help the bridge, and when does the bridge help the probe?
# One thing at a time is changed; each initialisation has its own rate, by one rule.

configs = "../../../../configs"
num_images = 768  # of the bridge
epochs = 4
num_layers = 4  # blocks
probe_images = 2000  # of the probe's training set, and as many to test

initialisations = dict(
    language=dict(
        config=f"{configs}/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"
    ),
    scratch=dict(
        config=f"{configs}/bridge/smollm2-b8_scratch_random100_6e_fashion-mnist.py"
    ),
)
options = {
    "model.backbone.num_layers": num_layers,
    "train_cfg.max_epochs": epochs,
    "train_cfg.val_interval": 100,  # a clean pass at the end only
    "train_dataloader.dataset.dataset.indices": num_images,
    "val_dataloader.dataset.dataset.indices": num_images,
    "test_dataloader.dataset.indices": probe_images,
    "default_hooks.checkpoint.interval": 100,  # the last one only
}
augmented = [
    dict(type="RandomCrop", crop_size=28, padding=2),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs", algorithm_keys=["true_label"]),
]
variants = {
    "base": {},  # tokens as large as the residual stream, 4 blocks, uniform labels
    "tokens x1": {"model.backbone.token_scale": 1.0},  # the paper's initialisation
    "tokens x30": {"model.backbone.token_scale": 30.0},
    "augmented": {"train_dataloader.dataset.dataset.pipeline": augmented},
    "8 blocks": {"model.backbone.num_layers": 2 * num_layers},
    "never the true label": {
        "train_dataloader.dataset.exclude_true_label": True,
        "val_dataloader.dataset.exclude_true_label": True,
    },
    "correct labels": {
        "train_dataloader.dataset.ratio": 0.0,
        "val_dataloader.dataset.ratio": 0.0,
    },
    "8 epochs": {"train_cfg.max_epochs": 2 * epochs},
    "192 images, 16 epochs": {
        "train_dataloader.dataset.dataset.indices": num_images // 4,
        "val_dataloader.dataset.dataset.indices": num_images // 4,
        "train_cfg.max_epochs": 4 * epochs,
    },
}
grid = dict(
    lr=dict(keys=["optim_wrapper.optimizer.lr"], values=[1.25e-4, 2.5e-4]),
)
seeds = [0]
probe = dict(
    when=["before", "after"],
    options={"train_dataloader.dataset.dataset.indices": probe_images},
)
selection = dict(over=["lr"], metric="train_acc", by="each")
thresholds = [50]
grid_metrics = ["train_acc", "probe_after"]
