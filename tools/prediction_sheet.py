"""Lay out what several detectors or segmenters say of the same images, as a picture.

Each RUN is NAME=FOLDER, the folder of a finished training (of tools/train.py or of
a sweep), with its config and its last checkpoint. All runs have the same test images.
The first row is the truth. The config in a folder is read as data, and only
what the libraries registered is built of it; NAME=FOLDER/CONFIG.py runs a config that
you trust.
"""

from __future__ import annotations

import argparse
import contextlib
from functools import partial
from pathlib import Path
from typing import Any

import _launch

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/prediction_sheet.py \\\n      language=work_dirs/segmenter-r18_"
        "small-gpt2_language_1xb8-1k_fashion-scenes --out sheet.png",
    )
    parser.add_argument(
        "run",
        nargs="+",
        type=_launch.named_path,
        metavar="RUN",
        help="NAME=FOLDER or NAME=FOLDER/CONFIG.py",
    )
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument(
        "--images", type=int, default=5, help="how many, default: %(default)s"
    )
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first, default: %(default)s"
    )
    parser.add_argument(
        "--score",
        type=float,
        default=0.3,
        help="boxes with a lower score are not drawn, default: %(default)s",
    )
    _launch.add_device_option(parser)
    args = parser.parse_args()
    if args.images < 1 or args.first < 0:
        parser.error("--images must be at least 1, --first at least 0")
    return args


_WIDTH = 320  # pixels of a large image on the sheet
# What is built of a run's config.
_PARTS = ("model", "data_preprocessor", "test_dataloader")


def find_run(place: Path) -> tuple[Any, Path, bool]:
    """Read the config and find the last checkpoint of a run.

    Args:
        place: Its folder, or the config in it.

    Returns:
        Config and checkpoint, and whether the config was named on the command line.
    """
    from lbbt_mm.runs.run import dumped_configs, read_run

    typed = place.is_file()
    folder = place.parent if typed else place
    configs = [place] if typed else dumped_configs(folder)
    checkpoint = folder / (read_run(folder).checkpoint or "no checkpoint")
    if len(configs) != 1 or not checkpoint.is_file():
        _launch.fail(
            f"{folder} is not the folder of a finished training: expected one config "
            f"(found {len(configs)}) and the checkpoint that last_checkpoint names."
        )
    from mmengine.config import Config

    from lbbt_mm.models.checkpoint_config import foreign_config

    if typed:
        return Config.fromfile(place), checkpoint, True
    text = configs[0].read_text(encoding="utf-8")
    return foreign_config(text, str(configs[0]), _PARTS), checkpoint, False


def predict(place: Path, args: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Run one model on the chosen test images.

    Args:
        place: Of its run; see :func:`find_run`.
        args: The command line.

    Returns:
        Data samples with truth and prediction, and the dataset's ``metainfo``.
    """
    cfg, checkpoint, typed = find_run(place)
    import torch
    from mmengine.device import get_device
    from mmengine.logging import MMLogger
    from mmengine.registry import MODELS, init_default_scope
    from mmengine.runner import Runner, load_checkpoint

    from lbbt_mm.datasets.checks.guard import build_guarded
    from lbbt_mm.models.checkpoint_config import building_foreign, use_checkpoint_only

    MMLogger.get_instance("mmengine", log_level="WARNING")
    with contextlib.nullcontext() if typed else building_foreign(str(place)):
        use_checkpoint_only(cfg, str(checkpoint))
        chosen = range(args.first, args.first + args.images)
        cfg.test_dataloader.update(batch_size=1, num_workers=0)
        cfg.test_dataloader.dataset.indices = list(chosen)
        _launch.prepare_dataloaders(cfg, "test_dataloader")
        init_default_scope(cfg.get("default_scope") or "mmengine")
        if cfg.get("data_preprocessor"):  # as mmengine's Runner does
            cfg.model.setdefault("data_preprocessor", cfg.data_preprocessor)
        model = MODELS.build(cfg.model)
        load_checkpoint(model, str(checkpoint), map_location="cpu")
        build = partial(Runner.build_dataloader, cfg.test_dataloader, seed=0)
        loader = build_guarded(build, cfg.test_dataloader)
        model.to(get_device()).eval()
        samples: list[Any] = []
        with torch.no_grad():
            for batch in loader:
                samples += model.test_step(batch)
    return [sample.cpu() for sample in samples], loader.dataset.metainfo


def annotate(sample: Any, truth: bool, score: float, background: int | None) -> Any:
    """Turn a data sample of mmdet or of mmseg into a picture's content.

    Args:
        sample: With truth and prediction.
        truth: Which of them to show.
        score: Boxes with a lower score are left out.
        background: Class that has no colour.
    """
    import numpy as np
    import torch

    from lbbt_mm.pictures import read_upright
    from lbbt_mm.report.sheets import AnnotatedImage

    image = np.asarray(read_upright(sample.img_path))
    if "pred_sem_seg" in sample:
        content = sample.gt_sem_seg if truth else sample.pred_sem_seg
        classes = content.data[0].numpy()
        shown = [int(c) for c in np.unique(classes) if c not in (background, 255)]
        return AnnotatedImage(image, shown, masks=[classes == c for c in shown])
    found = sample.gt_instances if truth else sample.pred_instances
    if not truth:
        found = found[found.scores >= score]
    corners = torch.as_tensor(getattr(found.bboxes, "tensor", found.bboxes))
    boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
    return AnnotatedImage(image, found.labels.tolist(), boxes=boxes.tolist())


def main() -> None:
    """Predict with every model and draw."""
    args = parse_args()
    from _subtask import Progress

    from lbbt_mm.report.sheets import comparison_sheet

    rows: dict[str, list[Any]] = {}
    progress = Progress("predictions")
    for name, place in args.run:
        progress.show(name, important=True)
        with _launch.refusals(ValueError, ImportError, OSError):
            samples, metainfo = predict(place, args)
        if not hasattr(samples[0], "img_path"):
            _launch.fail(
                f"{place} expects a detector or a segmenter whose test images are "
                f"files, got {type(samples[0]).__name__}s without img_path."
            )
        classes = metainfo["classes"]
        background = classes.index("background") if "background" in classes else None
        show = partial(annotate, score=args.score, background=background)
        truth = [show(sample, True) for sample in samples]
        rows.setdefault("truth", truth)
        rows[name] = [show(sample, False) for sample in samples]
    palette = [tuple(colour) for colour in metainfo["palette"]]
    zoom = min(2, _WIDTH / truth[0].image.shape[1])
    sheet = comparison_sheet(rows, metainfo["classes"], palette, zoom)
    _launch.write_or_fail("the picture", args.out, sheet.save)
    progress.close(f"written to {args.out}")


if __name__ == "__main__":
    main()
