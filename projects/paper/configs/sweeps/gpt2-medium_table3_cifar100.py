# Table 3: learning rate x weight decay of the bridge, CIFAR-100, then a linear probe.
# The paper names neither the grid's values nor the probe's; these are a decade around
# its settings. Chosen on scratch alone, then frozen for language.

configs = "../../../../configs"
lr_of_the_paper = 2.5e-4  # 1e-3 x batch 64 / 256

initialisations = dict(
    language=dict(
        config=f"{configs}/bridge/gpt2-medium_language_random100_400e_cifar100.py"
    ),
    scratch=dict(
        config=f"{configs}/bridge/gpt2-medium_language_random100_400e_cifar100.py",
        options={"pretrained": False},
    ),
)
options = {"exclude_true_label": True}  # as in all of the paper's tables
grid = dict(
    lr=dict(
        keys=["optim_wrapper.optimizer.lr"],
        values=[0.3 * lr_of_the_paper, lr_of_the_paper, 3 * lr_of_the_paper],
    ),
    wd=dict(keys=["optim_wrapper.optimizer.weight_decay"], values=[0.005, 0.05, 0.5]),
)
seeds = [0]
probe = dict(when=["before", "after"])
selection = dict(over=["lr", "wd"], metric="train_acc", by="scratch")
thresholds = [25, 50, 75]  # % of the random labels
grid_metrics = ["train_acc", "probe_after"]
