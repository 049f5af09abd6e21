"""The row of a linear probe of 100 epochs, against a loop around the frozen model.

The loop is what one writes by hand, and what released code does: in every epoch, the
frozen model sees the training images, shuffled, and the test images; a linear layer on
standardised features learns by AdamW along a cosine. A frozen model says the same each
time: one epoch of it is measured and counted 100 times, the linear layer's own work is
measured in full. Our probe extracts once, which is measured in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from measure import ROOT, Case, Spent, timed

CONFIG = "configs/bridge/smollm2-b8_language_random100_6e_mnist5k.py"
IMAGES, EPOCHS, BATCH, LR, DECAY = 512, 100, 128, 1e-3, 0.05


def cases() -> list[Case]:
    """One case, whose words are both accuracies."""
    case = Case(
        name=f"probing {IMAGES} + {IMAGES} images, {EPOCHS} epochs",
        baseline="a loop that runs the frozen model in every epoch",
        goal=">= 93",
        arms={},
        tolerance=0.02,
    )

    def saying(name: str, build: Callable[[], Callable[[], Spent]]) -> Any:
        def built() -> Callable[[], Spent]:
            step = build()

            def run() -> Spent:
                spent = step()
                case.said[name] = f"test top-1 {spent.value:.2f} %"
                return spent

            return run

        return built

    case.arms = dict(baseline=saying("baseline", loop), ours=saying("ours", probe))
    return [case]


def prepared() -> tuple[Any, dict[str, Any]]:
    """Build the frozen model and loaders of evenly spaced images, without workers."""
    from mmengine.config import Config
    from mmengine.registry import DATASETS, init_default_scope
    from mmengine.runner import Runner
    from torch.utils.data import Subset

    from lbbt_mm.probe.setup import build_frozen_model, probe_dataloaders

    init_default_scope("mmpretrain")
    cfg = Config.fromfile(ROOT / CONFIG)
    loaders = {}
    for split, loader in probe_dataloaders(cfg).items():
        dataset = DATASETS.build(loader["dataset"])
        chosen = [i * len(dataset) // IMAGES for i in range(IMAGES)]
        loader = dict(loader, dataset=Subset(dataset, chosen), batch_size=BATCH)
        loaders[split] = Runner.build_dataloader(loader)
    return build_frozen_model(cfg).eval(), loaders


def probe() -> Callable[[], Spent]:
    """Ours: features once, then the probe."""
    from lbbt_mm.probe.features import extract_features
    from lbbt_mm.probe.linear_probe import linear_probe

    model, loaders = prepared()

    def run() -> Spent:
        result: Any = None

        def step() -> None:
            nonlocal result
            train, test = (extract_features(model, one) for one in loaders.values())
            data = train.features, train.labels, test.features, test.labels
            result = linear_probe(
                *data, 10, epochs=EPOCHS, batch_size=BATCH, lr=LR, weight_decay=DECAY
            )

        spent = timed(step)
        spent.value = result.last_test_top1
        return spent

    return run


def loop() -> Callable[[], Spent]:
    """The baseline; nothing of lbbt_mm but the model."""
    import torch
    from torch import nn
    from torch.nn.functional import cross_entropy

    from lbbt_mm.probe.features import pool_features

    model, loaders = prepared()
    images, labels = {}, {}
    for split, loader in loaders.items():
        batches = [model.data_preprocessor(batch, False) for batch in loader]
        images[split] = torch.cat([batch["inputs"] for batch in batches])
        samples = [one for batch in batches for one in batch["data_samples"]]
        labels[split] = torch.cat([one.gt_label for one in samples])

    @torch.no_grad()
    def features(split: str, index: torch.Tensor) -> torch.Tensor:
        output = model.extract_feat(images[split][index], stage="backbone")
        return pool_features(output)

    def run() -> Spent:
        order = {split: torch.randperm(IMAGES) for split in images}
        known: dict[str, torch.Tensor] = {}

        def frozen_epoch() -> None:
            for split, found in order.items():
                parts = [features(split, index) for index in found.split(BATCH)]
                known[split] = torch.cat(parts)[found.argsort()]

        def epochs() -> float:
            mean, std = known["train"].mean(0), known["train"].std(0).clamp_min(1e-6)
            x = {split: (one - mean) / std for split, one in known.items()}
            layer = nn.Linear(mean.numel(), 10)
            nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
            groups = [
                dict(params=layer.weight),
                dict(params=layer.bias, weight_decay=0),
            ]
            optimizer = torch.optim.AdamW(groups, LR, weight_decay=DECAY)
            steps = EPOCHS * math.ceil(IMAGES / BATCH)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            for _ in range(EPOCHS):
                for index in torch.randperm(IMAGES).split(BATCH):
                    loss = cross_entropy(
                        layer(x["train"][index]), labels["train"][index]
                    )
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    schedule.step()
                hits = layer(x["test"]).argmax(1) == labels["test"]
            return 100 * hits.float().mean().item()

        frozen, head = timed(frozen_epoch), timed(epochs)
        cpu, wall = (
            EPOCHS * getattr(frozen, clock) + getattr(head, clock)
            for clock in ("cpu", "wall")
        )
        return Spent(cpu, wall, value=head.value)

    return run
