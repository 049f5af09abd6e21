"""The score of what never looks at an image, on the data and metrics of a config."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmengine.registry import DATASETS, EVALUATOR, init_default_scope
from mmengine.runner import Runner

from lbbt_mm.datasets.checks.guard import build_guarded
from lbbt_mm.metrics.constant_baseline import CommonestAnswers, ConstantBaseline
from lbbt_mm.progress import follow


def scored_part(cfg: Any) -> str:
    """Name the data to score: ``'val'`` of blind answers, otherwise ``'test'``."""
    return "val" if cfg.get("blind_train") else "test"


def score_baseline(cfg: Any, progress: bool = False) -> dict[str, float]:
    """Evaluate the constant answer.

    Args:
        cfg: A complete config. With ``blind_train``, a ``lbbt_mm.VQADataset`` of
            training questions, their commonest answers are scored on ``val_dataloader``
            by ``val_evaluator``; otherwise boxes or classes of ``train_dataloader`` on
            ``test_dataloader`` by ``test_evaluator``.
        progress: Show how far it is.

    Raises:
        ValueError: The training images have neither boxes nor label maps.
    """
    init_default_scope(cfg.default_scope)
    part = scored_part(cfg)
    baseline: ConstantBaseline | CommonestAnswers
    if part == "val":
        baseline = CommonestAnswers(DATASETS.build(cfg.blind_train))
    else:
        train = cfg.train_dataloader.dataset
        baseline = ConstantBaseline(
            build_guarded(partial(DATASETS.build, train), train)
        )
    loader_cfg = cfg[f"{part}_dataloader"]
    loader = build_guarded(
        partial(Runner.build_dataloader, loader_cfg, seed=0), loader_cfg
    )
    metrics = cfg[f"{part}_evaluator"]
    evaluator = EVALUATOR.build(dict(type="Evaluator", metrics=metrics))
    evaluator.dataset_meta = getattr(loader.dataset, "metainfo", None)
    for batch in follow(loader, "constant baseline", progress, unit="batches"):
        samples = baseline.predict(batch["data_samples"])
        evaluator.process(data_samples=samples, data_batch=batch)
    scores = evaluator.evaluate(len(loader.dataset))
    return {name: float(value) for name, value in scores.items()}
