"""Transfer a trained LangBridge projector and its vision encoder to another LLM.

CHECKPOINT is of a lbbt_mm.LLaVA with a LangBridgeProjector. What comes out is loaded
(load_from, or tools/ask.py --config) by the same config with another language_model.
Words that the other tokeniser lacks are dropped; what was trained in the old language
model stays behind. An MLP projector belongs to one language model. More:
docs/projectors.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import _launch

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/transfer_projector.py work_dirs/langbridge/epoch_1.pth gpt2 \\\n"
        "      --out transferred.pth",
    )
    parser.add_argument("checkpoint", type=Path, help="of the trained LLaVA")
    parser.add_argument(
        "language_model", help="hub id, folder, file or package:NAME/FILE"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.pth", help="must not exist"
    )
    parser.add_argument(
        "--minimum-overlap",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="of the words; fewer in common is an error, default: %(default)s",
    )
    args = parser.parse_args()
    if not 0 < args.minimum_overlap <= 1:
        parser.error("--minimum-overlap must be above 0 and at most 1")
    return args


def main() -> None:
    """Read, transfer and write."""
    args = parse_args()
    if args.out.exists():
        _launch.fail(f"{args.out} exists already: remove it, or choose another --out.")
    import torch

    from lbbt_mm.language.errors import CheckpointError
    from lbbt_mm.language.storage import load_pickle
    from lbbt_mm.models.multimodal.transfer import transfer_projector

    try:
        stored = load_pickle(args.checkpoint)
        state = stored.get("state_dict", stored) if isinstance(stored, dict) else {}
        found = transfer_projector(state, args.language_model, args.minimum_overlap)
    except CheckpointError as error:
        _launch.fail(str(error))
    content = dict(
        state_dict=found.state_dict, meta=dict(transferred_from=args.checkpoint.name)
    )
    try:
        _launch.write_whole(args.out, lambda part: torch.save(content, part))
    except (OSError, RuntimeError) as error:
        problem = error if isinstance(error, OSError) else OSError(str(error))
        _launch.fail_to_write("the transferred projector", args.out, problem)
    print(found.vocabulary.report())
    if found.left_out:
        print(f"Left behind: {found.left_out} tensors trained in the language model")
    print(
        f"Written to {args.out}. In the config:\n"
        f"  model.language_model={args.language_model!r}\n"
        f"  model.projector.vocabulary_size={len(found.vocabulary)}\n"
        f"  load_from={str(args.out)!r}"
    )


if __name__ == "__main__":
    main()
