# What is a bridge best trained for? MiniLM's language weights, the same 10 000 images
# and the same probe for each objective; each sees every image twice. SimCLR looks at
# two views each time, so it takes twice the forward passes.

configs = "../../../../configs"
num_images = 10000  # of the bridge and of the probe, which tests on all 10 000 others
epochs = 2
lr = 2.5e-4  # as for random labels in fashion-mnist_minilm.py; chosen for none

# How deep the images lie in the wrappers that give them labels.
one = {
    "train_dataloader.dataset.dataset.indices": num_images,
    "val_dataloader.dataset.dataset.indices": num_images,
}
two = {
    "train_dataloader.dataset.dataset.dataset.indices": num_images,
    "val_dataloader.dataset.dataset.indices": num_images,
}
as_many_classes = {
    "train_dataloader.dataset.num_classes": num_images,
    "val_dataloader.dataset.num_classes": num_images,
    "model.objectives.0.num_classes": num_images,
}

folder = f"{configs}/objectives/minilm_language_"
suffix = "_6e_fashion-mnist.py"
initialisations = {
    "random": dict(config=f"{folder}random{suffix}", options=one),
    "instance": dict(
        config=f"{folder}instance{suffix}", options={**one, **as_many_classes}
    ),
    "rotation": dict(config=f"{folder}rotation{suffix}", options=one),
    "random+rotation": dict(config=f"{folder}random+rotation{suffix}", options=two),
    "random+simclr": dict(config=f"{folder}random+simclr{suffix}", options=one),
    "random+labels": dict(config=f"{folder}random+labels{suffix}", options=two),
}
options = {
    "optim_wrapper.optimizer.lr": lr,
    "train_cfg.max_epochs": epochs,
    "train_cfg.val_interval": epochs,
}
seeds = [0]
seed_keys = ["randomness.seed"]
# Before training all are the one model that fashion-mnist_minilm.py probes.
probe = dict(when=["after"])
