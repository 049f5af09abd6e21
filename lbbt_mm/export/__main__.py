"""Take a bridged backbone to Hugging Face, timm or plain PyTorch.

    python -m lbbt_mm.export work_dirs/bridge/epoch_6.pth my-model
    python -m lbbt_mm.export work_dirs/bridge/epoch_6.pth backbone.pt2 --to torch
    python -m lbbt_mm.export work_dirs/bridge/epoch_6.pth my-vit --to timm

hf: the language model as a folder, with the checkpoint's blocks in their places and all
else its own, for AutoModelForCausalLM.from_pretrained. torch: the backbone as one file,
which torch.export.load opens without lbbt_mm. timm: weights, and a load.py that builds
timm's VisionTransformer of them, where that computes the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16", "float16")


def main() -> None:
    """Read the command line and write."""
    parser = argparse.ArgumentParser(
        prog="python -m lbbt_mm.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkpoint", help="of a run with a LanguageBackbone (.pth)")
    parser.add_argument("out", type=Path, help="folder, or with --to torch file")
    parser.add_argument("--to", choices=("hf", "torch", "timm"), default="hf")
    parser.add_argument(
        "--language-model",
        metavar="MODEL",
        help="hf: where all but the blocks comes from; default: the model that the "
        "checkpoint started from",
    )
    parser.add_argument(
        "--dtype", choices=DTYPES, help="hf: of the weights; default: the checkpoint's"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="write though OUT is there"
    )
    args = parser.parse_args()
    if args.to != "hf" and (args.language_model or args.dtype):
        parser.error("--language-model and --dtype are for --to hf")
    if args.out.exists() and not args.overwrite:
        if args.out.is_file() or any(args.out.iterdir()):
            parser.error(f"{args.out} is there already; --overwrite replaces it")
    from mmengine.logging import MMLogger

    from lbbt_mm.language.errors import CheckpointError
    from lbbt_mm.neighbours.noise import hushed

    MMLogger.get_instance("mmengine", log_level="WARNING")
    try:
        with hushed():
            said = export(args)
        print(said)
    except (CheckpointError, ValueError, ImportError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def export(args: argparse.Namespace) -> str:
    """Write what the command line asks for.

    Args:
        args: The command line.

    Returns:
        What was written, and how to open it.
    """
    if args.to == "hf":
        return _hugging_face(args)
    from lbbt_mm.export.plain import write_program, write_timm
    from lbbt_mm.models.trained_backbone import load_backbone

    backbone = load_backbone(args.checkpoint)
    write = write_program if args.to == "torch" else write_timm
    return write(backbone, args.out)


def _hugging_face(args: argparse.Namespace) -> str:
    import torch

    from lbbt_mm.export import hugging_face as hf
    from lbbt_mm.export import over_transformers as foreign
    from lbbt_mm.language.checkpoint import Checkpoint
    from lbbt_mm.language.whole import started_from

    bridge = hf.open_bridge(args.checkpoint)
    dtype = args.dtype and getattr(torch, args.dtype)
    if isinstance(bridge, Checkpoint):
        source: Any = hf.source_of(bridge, args.language_model)
        args.out.mkdir(parents=True, exist_ok=True)
        notes = hf.write_folder(bridge, source, args.out, dtype)
    else:
        source = foreign.fallback_source(bridge, args.language_model)
        notes = foreign.write_fallback(bridge, source, args.out, dtype)
    count, of = bridge.config.num_layers, source.config.num_layers
    _, first = started_from(bridge.record)
    which = f"{first} to {first + count - 1}" if count > 1 else first
    said = [
        f"{args.out}: {source.source} with {count} of its {of} blocks (number {which}) "
        f"from {args.checkpoint}"
    ]
    if count < of:
        notes.append(
            "its other blocks are as they were, and were not trained with these"
        )
    return "\n".join([*said, *(f"note: {note}" for note in notes)])


if __name__ == "__main__":
    main()
