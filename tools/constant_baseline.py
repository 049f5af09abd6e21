"""Score what needs no model: mean boxes, the commonest class, the commonest answers.

A detector, a segmenter or a LLaVA that does not beat these numbers has learned nothing
from the images. The training annotations of CONFIG give the answer, its test images and
test_evaluator the score. Of a config with blind_train (a lbbt_mm.VQADataset with the
training questions) it is the commonest answer of each type of question, scored on
val_dataloader, as test_dataloader may show exchanged images.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import _launch

_launch.hide_gpus_if_asked()

from _subtask import Progress  # noqa: E402
from mmengine.registry import DATASETS, EVALUATOR, init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from lbbt_mm.datasets.damaged import DataError  # noqa: E402
from lbbt_mm.datasets.guard import build_guarded  # noqa: E402
from lbbt_mm.metrics.constant_baseline import ConstantBaseline  # noqa: E402
from lbbt_mm.metrics.vqa_blind import CommonestAnswers  # noqa: E402


def scored_part(cfg: Any) -> str:
    """Name the data to score: ``'val'`` of blind answers, otherwise ``'test'``."""
    return "val" if cfg.get("blind_train") else "test"


def evaluate(cfg: Any) -> dict[str, float]:
    """Evaluate the constant answer.

    Args:
        cfg: A complete config.

    Returns:
        The metrics of ``test_evaluator``.

    Raises:
        ValueError: The training images have neither boxes nor label maps.
    """
    init_default_scope(cfg.default_scope)
    progress = Progress("constant baseline")
    progress.show("reads the training annotations", important=True)
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
    for number, batch in enumerate(loader, 1):
        samples = baseline.predict(batch["data_samples"])
        evaluator.process(data_samples=samples, data_batch=batch)
        progress.show(f"batch {number} of {len(loader)}")
    scores = evaluator.evaluate(len(loader.dataset))
    progress.close("done")
    return {name: float(value) for name, value in scores.items()}


def main() -> None:
    """Score, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="copy of them")
    args = parser.parse_args()
    cfg = _launch.load_config(args)
    part = scored_part(cfg)
    for key in ("train_dataloader", f"{part}_dataloader", f"{part}_evaluator"):
        if not cfg.get(key):
            _launch.fail(f"{args.config} has no {key}: there is nothing to score.")
    _launch.prepare_dataloaders(cfg, "train_dataloader", f"{part}_dataloader")
    try:
        scores = evaluate(cfg)
    except ValueError as error:
        _launch.fail(str(error))
    except DataError as error:
        _launch.fail(error.sentence)
    for name, value in scores.items():
        print(f"{name}: {value:.4g}")
    if args.out:
        text = json.dumps(scores, indent=1) + "\n"
        try:
            _launch.write_whole(args.out, text)
        except OSError as error:
            _launch.fail_to_write("the scores", args.out, error)
        print(f"Written to {args.out}")


if __name__ == "__main__":
    main()
