# An unlabelled bridge, then few labels to fine-tune all blocks. Run
# fashion-mnist_bridge.py first: the bridges come from there.

configs = "../../../../configs"
bridges = "work_dirs/sweeps/fashion-mnist_bridge"
bridge_epochs = 5
val_interval = 1000  # epochs: never, tools/test.py follows

config = f"{configs}/few_labels/smollm2-b8_language_labels1_100e_fashion-mnist.py"
scratch = {"pretrained": False}
start = dict(type="Pretrained", prefix="backbone.")
last = f"s{{seed}}/epoch_{bridge_epochs}.pth"
initialisations = {
    "language": dict(config=config),
    "language, bridge": dict(
        config=config,
        options={
            "model.backbone.init_cfg": dict(
                start, checkpoint=f"{bridges}/all_language_{last}"
            )
        },
    ),
    "scratch": dict(config=config, options=scratch),
    "scratch, bridge": dict(
        config=config,
        options={
            **scratch,
            "model.backbone.init_cfg": dict(
                start, checkpoint=f"{bridges}/all_scratch_{last}"
            ),
        },
    ),
}
options = {
    "train_cfg.val_interval": val_interval,
    "default_hooks.checkpoint.interval": val_interval,  # the last one only
}
variants = {
    "100 labels": {
        "train_dataloader.dataset.labels": 100,
        "train_cfg.max_epochs": 40,  # 160 steps
    },
    "1000 labels": {
        "train_dataloader.dataset.labels": 1000,
        "train_cfg.max_epochs": 6,  # 192 steps
    },
    "10000 labels": {
        "train_dataloader.dataset.labels": 10000,
        "train_cfg.max_epochs": 2,  # 626 steps
    },
}
seeds = [0, 1]
seed_keys = ["randomness.seed", "train_dataloader.dataset.seed"]
test = True
