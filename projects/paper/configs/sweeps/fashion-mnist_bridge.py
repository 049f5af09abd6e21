# Language and scratch, all blocks and the first five, on uniform random labels.

configs = "../../../../configs"
num_images = 4096  # of the bridge
probe_images = 10000  # of the probe's training set; it tests on all 10 000
epochs = 5

initialisations = dict(
    language=dict(
        config=f"{configs}/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"
    ),
    scratch=dict(
        config=f"{configs}/bridge/smollm2-b8_scratch_random100_6e_fashion-mnist.py"
    ),
)
options = {
    "train_cfg.max_epochs": epochs,
    "train_cfg.val_interval": epochs,
    "train_dataloader.dataset.dataset.indices": num_images,
    "val_dataloader.dataset.dataset.indices": num_images,
}
variants = {
    "all": {"model.backbone.trainable_layers": "all"},
    "first5": {"model.backbone.trainable_layers": "first:5"},
}
seeds = [0, 1]
# Another seed draws other labels too.
seed_keys = [
    "randomness.seed",
    "train_dataloader.dataset.seed",
    "val_dataloader.dataset.seed",
]
probe = dict(
    when=["before", "after"],
    options={"train_dataloader.dataset.dataset.indices": probe_images},
)
thresholds = [25, 50, 75]  # % of the random labels
keep_checkpoints = True  # the few-label sweep starts from them
