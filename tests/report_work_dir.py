"""A work_dir as the tools leave it: both initialisations and labels, measured."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lbbt_mm.report.chart import Chart
from lbbt_mm.runs.measurement import MeasurementRecord, record_folder

DATA = dict(
    dataset="fashion_mnist", split="test", images=500, classes=10, fingerprint="a1b2c3"
)
CONFIG = """
model = dict(
    backbone=dict(
        type='lbbt_mm.LanguageBackbone',
        language_model='package:toys/Toy-Model.gguf',
        num_layers=4, pretrained={pretrained}),
    head=dict(num_classes=10))
randomness = dict(seed={seed})
train_cfg = dict(by_epoch=True, max_epochs=3)
train_dataloader = dict(
    dataset=dict(
        type='lbbt_mm.RandomLabelDataset', ratio={ratio}, num_classes=10,
        dataset=dict(
            type='lbbt_mm.IdxDataset', classes='{dataset}', indices=1000,
            data_root='data/images', split='train')))
"""


class WorkDir:
    """Writes what the tools would write.

    Args:
        folder: Of the runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = dict(DATA)
        self.results = RESULTS

    def run(
        self,
        initialisation: str = "language",
        labels: str = "random",
        seed: int = 0,
        probe: float | None = 80.0,
        train_acc: float = 90.0,
        dataset: str = "fashion_mnist",
        finished: bool = True,
    ) -> Path:
        """Write a run of a sweep."""
        home = self.folder / f"{labels}_{initialisation}_s{seed}"
        home.mkdir(parents=True)
        config = CONFIG.format(
            pretrained=initialisation != "scratch",
            seed=seed,
            ratio=1.0 if labels == "random" else 0.0,
            dataset=dataset,
        )
        (home / "config.py").write_text(config)
        name = dataset.replace("_", "-")
        settings = dict(
            config=f"configs/bridge/toy_{initialisation}_random100_3e_{name}.py"
        )
        self.json(home / "settings.json", settings)
        (home / "last_checkpoint").write_text(
            f"{home}/epoch_{3 if finished else 1}.pth"
        )
        log = home / "20260101_000000" / "vis_data" / "scalars.json"
        log.parent.mkdir(parents=True)
        (log.parent / "config.py").write_text(config)
        curve = {1: train_acc / 3, 2: train_acc / 2, 3: train_acc}
        log.write_text(
            "".join(
                json.dumps(dict(train_acc=acc, epoch=epoch, step=9 * epoch)) + "\n"
                for epoch, acc in curve.items()
            )
        )
        if not finished:
            return home
        record = dict(
            name=home.name,
            variant=labels,
            initialisation=initialisation,
            seed=seed,
            point={},
            settings=settings,
            before=f"before_{initialisation}_s{seed}",
            curves=dict(train_acc=curve, random_acc={3: 91.0}, true_acc={3: 9.0}),
            environment=dict(device="a processor", cpus=2, commit="abc1234"),
        )
        if probe is not None:
            found = self.probe(probe, home / "epoch_3.pth")
            record["probe"] = found
            self.json(home / "linear_probe.json", found)
            before = self.folder / f"before_{initialisation}_s{seed}"
            before.mkdir(exist_ok=True)
            (before / "config.py").write_text(config)
            start = self.probe(probe - 10, None)
            self.json(before / "linear_probe.json", start)
            self.json(
                before / "result.json",
                dict(record, name=before.name, probe=start, before=None, curves=None),
            )
        self.json(home / "result.json", record)
        return home

    @staticmethod
    def probe(top1: float, checkpoint: Path | None) -> dict:
        """Give what tools/linear_probe.py writes."""
        return dict(
            last_test_top1=top1,
            last_train_top1=top1 + 1,
            chance=10.0,
            num_classes=10,
            checkpoint=str(checkpoint) if checkpoint else None,
            checkpoint_sha256="0123456789abcdef" * 4 if checkpoint else None,
            command=f"python /somewhere/tools/linear_probe.py {checkpoint}",
            images=dict(train=1000, test=500),
        )

    def measure(
        self,
        run: Path,
        measurement: str,
        result: dict | None,
        error: str | None = None,
        initial: bool = False,
        data: dict | None = None,
    ) -> Path:
        """Write a measurement of a run's model."""
        labels, initialisation, _ = run.name.split("_")
        checkpoint = None if initial else "epoch_3.pth"
        record = MeasurementRecord(
            measurement,
            result,
            error,
            model=dict(
                name=run.name,
                initialisation=initialisation,
                stage="initial" if initial else "trained",
                labels=labels,
                language_model="package:toys/Toy-Model.gguf",
                config="config.py",
                checkpoint=checkpoint,
                sha256=None if initial else "0123456789abcdef" * 4,
            ),
            data=DATA if data is None else data,
            settings=dict(seed=0),
            provenance=dict(command=f"python tools/analyze.py {run.name}/config.py"),
        )
        return record.write(record_folder(run, checkpoint))

    def everything(self) -> dict[str, Path]:
        """Write both initialisations and labels, and every measurement of each."""
        runs = {}
        for start in ("language", "scratch"):
            for labels in ("random", "true"):
                run = runs[f"{start} {labels}"] = self.run(start, labels)
                for initial in (True, False):
                    shift = (start == "language") + 2 * (not initial)
                    for name, make in RESULTS.items():
                        self.measure(run, name, make(shift), initial=initial)
        return runs

    @staticmethod
    def json(path: Path, content: dict) -> None:
        """Write a JSON file."""
        path.write_text(json.dumps(content))


def _statistics(shift: float) -> dict:
    return {
        "count": 123456,
        "mean": 0.0,
        "std": 0.02 + shift / 100,
        "excess_kurtosis": 1.5 * shift,
        "largest": 1.7,
        "above": int(10 + 7 * shift),
        "share_above": 1e-4,
        "above_sigmas": int(40 + shift),
        "share_above_sigmas": 3e-4 * (1 + shift),
        "quantile_0.999": 0.1,
    }


def _outliers(shift: float) -> dict:
    edges = [i / 50 - 1 for i in range(101)]
    width = 0.1 + shift / 30
    middles = [edge + 0.01 for edge in edges[:-1]]
    counts = [int(1e5 * math.exp(-((x / width) ** 2) / 2)) for x in middles]
    return dict(
        threshold=1.0,
        sigmas=6.0,
        total=_statistics(shift),
        by_block={f"language.blocks.{i}": _statistics(shift + i) for i in range(4)},
        by_kind={"mlp up": _statistics(shift)},
        histogram=dict(edges=edges, counts=[0, *counts, 3]),
    )


def _activation(shift: float) -> dict:
    def blocks(start: float) -> list[dict]:
        return [
            dict(block=i, ratio=start + i / 20, neuron_std=0.1, threshold=0.0)
            for i in range(4)
        ]

    return dict(zero=blocks(0.2 + shift / 20), reference=blocks(0.4 + shift / 20))


def _aligned(shift: float) -> dict:
    values = [10 ** (-i / 4) for i in range(16)]
    numbers = dict(
        off_diagonal=0.1 + shift / 100,
        off_diagonal_deviation=0.9 - shift / 10,
        leading={"1": 0.5, "4": 0.4},
        trailing={"1": 0.1, "4": 0.2},
    )
    return dict(
        eigenvalues=values,
        data=dict(numbers, curve=[v**0.3 / 50 for v in values]),
        rotated=dict(numbers, off_diagonal=0.3, curve=[0.01] * 16),
    )


def _alignment(shift: float) -> dict:
    return dict(now=_aligned(shift), initial=_aligned(0))


def _landscape(shift: float) -> dict:
    steps = [i / 10 - 1 for i in range(21)]

    def surface(scale: float) -> dict:
        loss = [
            [2.0 + scale * (x * x + 0.5 * y * y + x * y / 2) for y in steps]
            for x in steps
        ]
        return dict(loss=loss, steps=steps)

    return dict(
        steps=steps,
        centre=2.0,
        filter_normalised=surface(1 + shift),
        plain=surface(300 * (1 + shift)),
    )


def _curvature(shift: float) -> dict:
    names = (
        *("decay_rate", "kurtosis", "trace", "spectral_gap", "participation_ratio"),
        *("noise_sensitivity", "gradient_predictiveness", "parameter_sensitivity"),
        "negative_share",
    )
    found: dict = {
        name: dict(
            value=1.25 * i + shift, error=0.03, probes=8, iterations=40, samples=256
        )
        for i, name in enumerate(names, start=1)
    }
    grid = [i - 20.0 for i in range(60)]
    found["density"] = dict(grid=grid, values=[math.exp(-abs(x) / 3) for x in grid])
    return found


def _separability(shift: float) -> dict:
    rng = random.Random(shift)
    labels = [i % 10 for i in range(600)]
    points = [
        [
            5 * math.cos(label) * shift + rng.gauss(0, 1),
            5 * math.sin(label) * shift + rng.gauss(0, 1),
        ]
        for label in labels
    ]
    return dict(
        silhouette=0.01 * shift,
        knn_accuracy=0.613 + shift / 100,
        kmeans_nmi=0.4,
        kmeans_ari=0.3,
        tsne_nmi=0.45,
        tsne_ari=0.35,
        points=points,
        labels=labels,
        clusters=labels,
    )


def _retrieval(shift: float) -> dict:
    ks = {
        f"{name}@{k}": 50.0 + shift + k
        for name in ("Pass", "Recall", "NDCG")
        for k in (1, 5)
    }
    return {"mAP": 43.21 + shift, **ks}


def _probe_grid(shift: float) -> dict:
    table = [[60.0 + shift + i + j for j in range(3)] for i in range(3)]
    return dict(
        lrs=[1e-4, 1e-3, 1e-2],
        weight_decays=[0.0, 0.05, 0.5],
        train_top1=table,
        test_top1=table,
    )


def _synthetic(shift: float) -> dict:
    return dict(before=_aligned(0), after=_aligned(3), first_loss=2.4, last_loss=2.1)


RESULTS: dict[str, Callable[[float], dict]] = dict(
    outliers=_outliers,
    activation=_activation,
    alignment=_alignment,
    synthetic_alignment=_synthetic,
    landscape=_landscape,
    curvature=_curvature,
    separability=_separability,
    retrieval=_retrieval,
    probe_grid=_probe_grid,
)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Panels without content: drawing is slow, and has tests of its own."""
    empty = "<svg viewBox='0 0 1 1'></svg>"
    monkeypatch.setattr(Chart, "to_file", lambda chart, salt="": empty)


@pytest.fixture
def work_dir(tmp_path: Path) -> WorkDir:
    """An empty work_dir to fill."""
    return WorkDir(tmp_path / "runs")
