"""Options of projects/small_gpt2/pretrain.py."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from small_gpt2.tokens import END

# What a resumed run may do otherwise.
_FREE = {"out", "resume", "device", "save_minutes"}


def build_parser(description: str) -> argparse.ArgumentParser:
    """List the options.

    Args:
        description: What the tool is for.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("text", nargs="*", metavar="TEXT", help="files and folders of English text")
    add("--out", type=Path, required=True, help="a new folder for the model")
    add(
        "--minutes", type=float, help="of training, default: 60; the schedule ends then"
    )
    add("--steps", type=int, help="instead of --minutes; makes a run repeatable")
    add("--resume", action="store_true", help="go on with what is in OUT, if any")
    add("--device", choices=["cpu", "cuda"], help="default: a GPU if there is one")
    add("--seed", type=int, default=0, help="default: %(default)s")
    size = parser.add_argument_group("the model")
    size.add_argument("--blocks", type=int, default=6, help="default: %(default)s")
    size.add_argument("--width", type=int, default=384, help="default: %(default)s")
    size.add_argument("--heads", type=int, default=6, help="default: %(default)s")
    size.add_argument(
        "--vocabulary", type=int, default=8192, help="tokens, default: %(default)s"
    )
    size.add_argument(
        "--context",
        type=int,
        default=256,
        help="tokens that it sees, and rows of its table of positions, default: "
        "%(default)s",
    )
    train = parser.add_argument_group("training")
    train.add_argument("--lr", type=float, default=1e-3, help="default: %(default)s")
    train.add_argument(
        "--weight-decay",
        type=float,
        default=0.1,
        help="of the blocks' matrices, default: %(default)s",
    )
    train.add_argument(
        "--dropout",
        type=float,
        default=0.0,
        help="default: %(default)s; more for many passes over little text",
    )
    train.add_argument(
        "--batch-tokens", type=int, help="of a step, default: 8192, on a GPU 65536"
    )
    train.add_argument(
        "--micro-batch",
        type=int,
        help="windows of one forward pass, default: 8, on a GPU 64",
    )
    train.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16"],
        default="auto",
        help="auto: what is faster here",
    )
    train.add_argument(
        "--held-out",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="of the documents, default: %(default)s",
    )
    train.add_argument(
        "--save-minutes", type=float, default=5, help="default: %(default)s"
    )
    return parser


def read_settings(description: str) -> tuple[argparse.Namespace, dict[str, Any]]:
    """Read the command line and, for a resumed run, what it was started with.

    Args:
        description: As of :func:`build_parser`.

    Returns:
        All options, and those that make the run what it is.
    """
    parser = build_parser(description)
    args = parser.parse_args()
    stored, path = None, args.out / "training" / "settings.json"
    if args.resume and path.is_file():
        stored = json.loads(path.read_text())
        parser.set_defaults(**stored)
        args = parser.parse_args()
    elif args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        what = "cannot be resumed" if args.resume else "exists; go on with --resume"
        parser.error(f"{args.out} {what}, or choose another --out.")
    gpu = args.device != "cpu" and torch.cuda.is_available()
    if args.device == "cuda" and not gpu:
        parser.error("cuda was asked for, but there is none; leave out --device.")
    args.device = "cuda" if gpu else "cpu"
    if args.minutes is None and args.steps is None:
        args.minutes = 60.0
    args.batch_tokens = args.batch_tokens or (65536 if gpu else 8192)
    args.micro_batch = args.micro_batch or (64 if gpu else 8)
    settings = {k: v for k, v in vars(args).items() if k not in _FREE}
    if stored is not None and (new := [k for k in stored if stored[k] != settings[k]]):
        was = ", ".join(f"{k}={stored[k]!r}" for k in new)
        parser.error(f"{args.out} was started with {was}; resume it with the same.")
    check(parser, args)
    return args, settings


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse what cannot work, in one sentence.

    Args:
        parser: Ends the program.
        args: All options.
    """
    if not args.text:
        parser.error("expected TEXT, files or folders to learn from, got none.")
    if args.minutes is not None and args.steps is not None:
        parser.error("expected --minutes or --steps, got both.")
    positive = "minutes steps blocks width heads context lr batch_tokens micro_batch"
    for name in positive.split():
        value = getattr(args, name)
        if value is not None and not value > 0:
            option = name.replace("_", "-")
            parser.error(f"--{option} expects a number above 0, got {value}.")
    if args.width % args.heads:
        parser.error(
            f"--width must be a multiple of --heads, got {args.width} and {args.heads}."
        )
    if args.vocabulary < 257:
        parser.error(
            f"--vocabulary must hold 256 bytes and {END}: expected 257 or more, got "
            f"{args.vocabulary}."
        )
    if not 0 < args.held_out < 1:
        parser.error(
            f"--held-out expects a share between 0 and 1, got {args.held_out}."
        )
