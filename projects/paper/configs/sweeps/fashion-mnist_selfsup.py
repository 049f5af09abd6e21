# Table 7 in small: what an equal number of images seen is worth, by objective. MiniLM's
# language weights, the same images and the same probe for all. SimCLR looks at two
# views each time and the masked autoencoder at a quarter of the patches; RUN/cost.json
# has steps, forward passes and operations. All four run at the same rates, the authors'
# and its double, and every probe is reported: losses of different objectives cannot
# choose a rate, and the probe's test images must not.

configs = "../../../../configs"
num_images = 2048
epochs = 12
probe_images = 10000  # of the probe's training set; it tests on all 10 000 others

hooks = ["ThroughputHook", "RandomStateHook", "CostHook"]
initialisations = {
    "lbbt": dict(
        config=f"{configs}/bridge/minilm_language_random100_6e_fashion-mnist.py"
    ),
    "rotation": dict(
        config=f"{configs}/objectives/minilm_language_rotation_6e_fashion-mnist.py"
    ),
    "simclr": dict(
        config=f"{configs}/selfsup/minilm_language_simclr_6e_fashion-mnist.py"
    ),
    "mae": dict(config=f"{configs}/selfsup/minilm_language_mae_6e_fashion-mnist.py"),
}
options = {
    "custom_hooks": [dict(type=f"lbbt_mm.{name}") for name in hooks],
    "train_cfg.max_epochs": epochs,
    "train_cfg.val_begin": 1000,  # no clean passes: rivals have no labels to pass
    "train_dataloader.dataset.dataset.indices": num_images,
}
variants = {
    "lr 1.25e-4": {"optim_wrapper.optimizer.lr": 1.25e-4},
    "lr 2.5e-4": {"optim_wrapper.optimizer.lr": 2.5e-4},
}
seeds = [0]
probe = dict(
    when=["after"],
    options={"train_dataloader.dataset.dataset.indices": probe_images},
)
