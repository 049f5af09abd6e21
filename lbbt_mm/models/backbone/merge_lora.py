"""Merge the LoRA of a bridge into its weights.

    python -m lbbt_mm.models.backbone.merge_lora BRIDGE.pth MERGED.pth

makes a plain bridge, for whatever takes one; the optimiser stays behind.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from lbbt_mm.files import write_whole
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.storage import load_pickle, weights_in
from lbbt_mm.models.backbone.lora import merged


def main() -> None:
    """Read the command line, merge and write."""
    parser = argparse.ArgumentParser(
        prog="python -m lbbt_mm.models.backbone.merge_lora",
        description=__doc__.split("\n")[0],
    )
    parser.add_argument("checkpoint")
    parser.add_argument("merged")
    args = parser.parse_args()
    try:
        content = load_pickle(Path(args.checkpoint))
        state = merged(weights_in(content, args.checkpoint), args.checkpoint)
        kept = dict(meta=content.get("meta") or {}, state_dict=state)
        write_whole(args.merged, lambda part: torch.save(kept, part))
    except (CheckpointError, OSError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    print(f"{args.merged}: without LoRA")


if __name__ == "__main__":
    main()
