# The bridges of the report: 8 blocks of SmolLM2 and 10 000 images, with random labels
# and, for comparison, with the true ones.

configs = "../../../../configs"
num_images = 10000  # of the bridge
probe_images = 10000  # of the probe's training set; it tests on all 10 000
epochs = 4

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
    "random": {},
    "correct": {
        "train_dataloader.dataset.ratio": 0.0,
        "val_dataloader.dataset.ratio": 0.0,
    },
}
seeds = [0]
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
thresholds = [15, 25]  # % of the labels
keep_checkpoints = True  # tools/analyze.py measures them
