"""Measure the patches of a config's training images.

    python -m lbbt_mm.measure.patch_moments CONFIG FILE

FILE is for ``LanguageBackbone(token_scale='moments', patch_moments=FILE)``. Images go
through the pipeline of the tests, so that nothing about them is random.
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

from mmengine.config import DictAction

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.models.backbone.patch_moments import PatchMoments, measure_patches


def patch_moments(cfg: Any, images: int) -> PatchMoments:
    """Measure the patches that a config's backbone sees.

    Args:
        cfg: With a ``LanguageBackbone`` and a ``train_dataloader``; not changed.
        images: How many, evenly drawn.

    Raises:
        ValueError: It has another backbone, or no images.
    """
    cfg = copy.deepcopy(cfg)
    # What it starts from does not matter here.
    cfg.model.backbone.update(token_scale=1.0, patch_moments=None, pretrained=False)
    cfg.model.backbone.pop("prefix_tokens", None)
    measured = MeasuredModel(cfg)
    size = measured.backbone.patch_embed.patch_size
    return measure_patches(measured.images("train", images)[0], size)


def main() -> None:
    """Read the command line, measure and write."""
    parser = argparse.ArgumentParser(
        prog="python -m lbbt_mm.measure.patch_moments",
        description=__doc__.split("\n")[0],
    )
    parser.add_argument("config")
    parser.add_argument("file")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, metavar="KEY=VALUE"
    )
    args = parser.parse_args()
    try:
        cfg = load_config(args.config, args.cfg_options)
        found = patch_moments(cfg, args.images)
        found.save(args.file)
    except (ConfigError, CheckpointError, ImportError, OSError, ValueError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(f"{args.file}: patches of {len(found.mean)} numbers, {args.images} images")


if __name__ == "__main__":
    main()
