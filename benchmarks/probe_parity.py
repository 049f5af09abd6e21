"""Does a frozen-backbone config reach what the cached probe reaches?

Trains CONFIG the ordinary mmpretrain way (its loaders, neck, head, optimiser and
schedule in a Runner), then probes the same weights on cached features with the same
epochs, batch size, learning rate and weight decay, and prints both ends. They see the
images in different orders; a third row is the cached probe in the Runner's order.
What a frozen backbone says of an image never changes, so the Runner asks it once per
image; --every-epoch asks it every time, as tools/train.py does.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import _launch  # noqa: E402

_launch.hide_gpus_if_asked()

import torch  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from lbbt_mm.probe.features import Features, extract_features  # noqa: E402
from lbbt_mm.probe.linear_layers import LinearLayers, evaluate  # noqa: E402
from lbbt_mm.probe.linear_probe import linear_probe  # noqa: E402
from lbbt_mm.probe.setup import probe_dataloaders  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument(
        "--every-epoch",
        action="store_true",
        help="run the frozen backbone on every image in every epoch",
    )
    parser.add_argument("--out", metavar="FILE.json", help="also write the numbers")
    return parser.parse_args()


def remember_outputs(backbone: nn.Module) -> None:
    """Let a frozen backbone answer from memory when it sees an image again.

    Args:
        backbone: Edited in place; ``del backbone.forward`` undoes it.
    """
    forward, known = backbone.forward, {}

    @torch.no_grad()
    def remembered(images: Tensor) -> tuple[Tensor]:
        keys = [image.cpu().numpy().tobytes() for image in images]
        new = {key: i for i, key in enumerate(keys) if key not in known}
        if new:
            known.update(zip(new, forward(images[list(new.values())])[-1], strict=True))
        return (torch.stack([known[key] for key in keys]),)

    backbone.forward = remembered


def train(runner: Runner, every_epoch: bool) -> tuple[float, float]:
    """Train the head.

    Args:
        runner: Of a config whose backbone is frozen.
        every_epoch: Whether the backbone shall run in every epoch.

    Returns:
        Running training accuracy of the last epoch and test accuracy after it, in %.
    """
    backbone = runner.model.backbone
    if any(p.requires_grad for p in backbone.parameters()):
        _launch.fail("the config's backbone trains; expected trainable_layers='none'.")
    if not every_epoch:
        remember_outputs(backbone)
    runner.train()
    if not every_epoch:
        del backbone.forward
    scalars = runner.message_hub.log_scalars
    steps = len(runner.train_dataloader)
    top1 = scalars["val/accuracy/top1"].current()
    return float(scalars["train/accuracy_top-1"].mean(steps)), float(top1)


def probe(
    cfg: Any, found: dict[str, Features], sampler: Any | None = None
) -> tuple[float, float]:
    """Train a linear layer on cached features, with the config's settings.

    Args:
        cfg: The config.
        found: Features of ``'train'`` and ``'test'``.
        sampler: The Runner's, for its order of the images.

    Returns:
        As :func:`train`.
    """
    train, test = found["train"], found["test"]
    optimizer, epochs = cfg.optim_wrapper.optimizer, cfg.train_cfg.max_epochs
    classes, batch_size = cfg.model.head.num_classes, cfg.train_dataloader.batch_size
    if sampler is None:
        result = linear_probe(
            train.features,
            train.labels,
            test.features,
            test.labels,
            classes,
            epochs=epochs,
            batch_size=batch_size,
            lr=optimizer.lr,
            weight_decay=optimizer.weight_decay,
            seed=cfg.randomness.seed,
            device=get_device(),
        )
        return result.last_train_top1, result.last_test_top1
    x, y = train.features, train.labels
    layer = LinearLayers(x, [optimizer.lr], classes, optimizer.weight_decay, True)
    steps = epochs * math.ceil(len(x) / batch_size)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        hits = 0
        for index in torch.tensor(list(sampler)).split(batch_size):
            cosine = 0.5 * (1 + math.cos(math.pi * layer.steps / steps))
            hits += layer.step(x[index], y[index], cosine).item()
    return 100 * hits / len(x), evaluate(layer, test.features, test.labels)[0][0]


def main() -> None:
    """Train, probe, compare."""
    args = parse_args()
    cfg = _launch.load_config(args)
    cfg.default_hooks.checkpoint = None
    _launch.prepare_dataloaders(
        cfg, "train_dataloader", "val_dataloader", "test_dataloader"
    )
    ends, start = {}, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cfg.work_dir = args.work_dir or folder
        runner = Runner.from_cfg(cfg)
        ends["frozen-backbone config"] = train(runner, args.every_epoch)
        seconds = [time.perf_counter() - start]
        start = time.perf_counter()
        found = {
            split: extract_features(
                runner.model,
                Runner.build_dataloader(loader),
                get_device(),
                False,
                split,
            )
            for split, loader in probe_dataloaders(cfg).items()
        }
        ends["cached probe"] = probe(cfg, found)
        seconds.append(time.perf_counter() - start)
    ends["... in the order of the former"] = probe(
        cfg, found, runner.train_dataloader.sampler
    )
    print(
        f"\n{args.config}: {cfg.train_cfg.max_epochs} epochs, seed "
        f"{cfg.randomness.seed}; {seconds[0]:.0f} s and {seconds[1]:.0f} s\n\n"
        f"{'last epoch, top-1 in %':<32}{'train':>8}{'test':>8}"
    )
    for name, end in ends.items():
        print(f"{name:<32}{end[0]:>8.2f}{end[1]:>8.2f}")
    if args.out:
        record = dict(
            command=shlex.join([Path(sys.executable).name, *sys.argv]),
            config=args.config,
            epochs=cfg.train_cfg.max_epochs,
            seed=cfg.randomness.seed,
            backbone_in_every_epoch=args.every_epoch,
            torch=torch.__version__,
            device=get_device(),
            seconds=seconds,
        )
        for name, (train_top1, test_top1) in ends.items():
            record[name] = dict(train_top1=train_top1, test_top1=test_top1)
        Path(args.out).write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
