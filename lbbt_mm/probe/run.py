"""One linear probe from features to its table and its record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lbbt_mm.probe.linear_probe import LinearProbeResult, linear_probe
from lbbt_mm.probe.selection import (
    DEFAULT_HELD_OUT,
    LearningRateSelection,
    select_learning_rate,
)
from lbbt_mm.probe.setup import ProbeData


@dataclass(frozen=True)
class ProbeSettings:
    """How a layer is trained; see :func:`~lbbt_mm.probe.linear_probe.linear_probe`."""

    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 0.05
    standardize: bool = True
    seed: int = 0


@dataclass(frozen=True)
class ProbeRun:
    """What a probe found.

    Attributes:
        data: The features.
        settings: With the learning rate that was taken.
        result: Accuracies of the probe.
        selection: How the learning rate was chosen, if it was.
        seconds: How long choosing and probing took.
    """

    data: ProbeData
    settings: ProbeSettings
    result: LinearProbeResult
    selection: LearningRateSelection | None
    seconds: dict[str, float]

    def table(self, name: str) -> str:
        """Lay out the accuracies for a terminal.

        Args:
            name: What was probed.
        """
        data, result, chosen = self.data, self.result, ""
        if self.selection:
            chosen = (
                f", learning rate {self.settings.lr:g} of {len(self.selection.lrs)}, "
                "chosen on held-out training images"
            )
        last, best = f"last epoch ({self.settings.epochs})", result.best_epoch
        return (
            f"Linear probe of {name}: {len(data.train.labels)} training and "
            f"{len(data.test.labels)} test images, {data.train.features.shape[1]} "
            f"channels, {data.num_classes} classes{chosen}\n\n"
            f"{'top-1 in %':<24}{'train':>8}{'test':>8}\n"
            f"{last:<24}{result.last_train_top1:>8.2f}{result.last_test_top1:>8.2f}\n"
            f"{f'best epoch ({best})':<32}{result.best_test_top1:>8.2f}"
            "  (chosen on the test images)\n"
            f"{'chance':<32}{result.chance:>8.2f}\n"
            f"{'commonest class':<32}{result.majority:>8.2f}"
        )

    def record(self, **about: Any) -> dict[str, Any]:
        """Write down the numbers and everything that is needed to get them again.

        Args:
            **about: What else to keep: what was probed, how it was called, on what.
        """
        data, result, selection = self.data, self.result, self.selection
        return dict(
            last_test_top1=result.last_test_top1,
            last_train_top1=result.last_train_top1,
            best_test_top1=result.best_test_top1,
            best_epoch=result.best_epoch,
            chance=result.chance,
            majority=result.majority,
            **about,
            images=dict(train=len(data.train.labels), test=len(data.test.labels)),
            channels=data.train.features.shape[1],
            num_classes=data.num_classes,
            probe=dict(optimizer="AdamW", schedule="cosine to 0")
            | {k: v for k, v in asdict(self.settings).items() if k != "seed"},
            lr_sweep=selection.record() if selection else None,
            seed=self.settings.seed,
            seconds={f"{split}_features": s for split, s in data.seconds.items()}
            | self.seconds,
            features_from_cache=data.cached,
            train_top1=result.train_top1,
            test_top1=result.test_top1,
        )


def record_readouts(
    runs: Mapping[str, ProbeRun], block: int | None = None, **about: Any
) -> dict[str, Any]:
    """Write down the probes of several read-outs of one model.

    Args:
        runs: Read-out -> its probe; ``''`` is the config's own.
        block: Whose outputs were read, if it was chosen.
        **about: See :meth:`ProbeRun.record`.

    Returns:
        The record of the first, with ``readout`` and ``block``; where there are more,
        the records of all by name as ``readouts``.
    """
    first, *others = runs
    record = runs[first].record(**about, readout=first or None, block=block)
    if others:
        record["readouts"] = {name: run.record() for name, run in runs.items()}
    return record


def run_probe(
    data: ProbeData,
    settings: ProbeSettings,
    lrs: Sequence[float] | None = None,
    held_out: float = DEFAULT_HELD_OUT,
    device: str | torch.device = "cpu",
    say: Callable[[str], Any] = print,
) -> ProbeRun:
    """Choose the learning rate if asked to, and probe.

    Args:
        data: The features.
        settings: Of the probe.
        lrs: Learning rates to choose from, in place of that of the settings.
        held_out: Share of the training images of each class to choose by.
        device: Where features and classifiers live.
        say: Told how it goes, in ten lines.

    Raises:
        ValueError: Features or settings do not fit, see
            :func:`~lbbt_mm.probe.linear_probe.linear_probe`.
    """
    options: dict[str, Any] = asdict(settings) | dict(device=device)
    epochs, train, seconds = settings.epochs, data.train, dict[str, float]()
    selection = None

    def due(epoch: int) -> bool:
        return epoch % max(1, epochs // 10) == 0

    def on_sweep_epoch(epoch: int) -> None:
        if due(epoch):
            say(f"learning rates, epoch {epoch:>4}/{epochs}")

    def on_epoch(epoch: int, train_top1: float, test_top1: float) -> None:
        if due(epoch):
            accuracies = f"train {train_top1:6.2f}  test {test_top1:6.2f}"
            say(f"epoch {epoch:>4}/{epochs}: {accuracies}")

    if lrs:
        del options["lr"]
        start = time.perf_counter()
        selection = select_learning_rate(
            train.features,
            train.labels,
            data.num_classes,
            lrs,
            held_out,
            on_epoch=on_sweep_epoch,
            **options,
        )
        say(f"\n{selection.table()}\n")
        seconds["lr_sweep"] = time.perf_counter() - start
        options["lr"] = selection.chosen
    start = time.perf_counter()
    result = linear_probe(
        train.features,
        train.labels,
        data.test.features,
        data.test.labels,
        data.num_classes,
        on_epoch=on_epoch,
        **options,
    )
    seconds["probing"] = time.perf_counter() - start
    del options["device"]
    return ProbeRun(data, ProbeSettings(**options), result, selection, seconds)
