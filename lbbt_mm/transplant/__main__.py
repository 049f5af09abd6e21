"""Show what a config's LanguageInitHook would copy, without training.

    python -m lbbt_mm.transplant configs/detr_gpt2init.py

Builds the model without memory for its weights and reads the header of the language
model's file. Exit status 2 and one sentence where the plan does not work out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mmengine.config import DictAction

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.language.checkpoint import open_checkpoint
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.neighbours.noise import hushed
from lbbt_mm.registry import HOOKS, find_type
from lbbt_mm.safety.dumped_config import language_hooks
from lbbt_mm.transplant.entries import Row, name_of, refuse_overlap
from lbbt_mm.transplant.errors import TransplantError
from lbbt_mm.transplant.meta_model import build_on_meta_device
from lbbt_mm.transplant.mimetic import SOURCE, MimeticPlan, make_mimetic_plan
from lbbt_mm.transplant.plan import CopyPlan, make_plan
from lbbt_mm.version import require_scope

_HOOK = "LanguageInitHook"


def main() -> None:
    """Print the plan of each LanguageInitHook in a config."""
    parser = argparse.ArgumentParser(
        prog="python -m lbbt_mm.transplant", description=__doc__.split("\n")[0]
    )
    parser.add_argument("config", help="config file of mmdet, mmseg or mmpretrain")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=DictAction,
        metavar="KEY=VALUE",
        help="override settings of the config",
    )
    parser.add_argument(
        "--all", action="store_true", help="list every tensor, not every layer"
    )
    args = parser.parse_args()
    try:
        with hushed():
            show(args)
    except ConfigError as error:
        parser.exit(2, f"{parser.prog}: error: {args.config}: {error}\n")
    except (TransplantError, CheckpointError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")


def show(args: argparse.Namespace) -> None:
    """Build the model, plan and print.

    Args:
        args: The command line.

    Raises:
        TransplantError: The config has no such hook, or a plan does not work out.
        CheckpointError: The language model cannot be read.
        ConfigError: A setting has no effect or does not fit.
        ImportError: The library that the config is written for is not there.
    """
    if not Path(args.config).is_file():
        raise TransplantError(f"the config {args.config} does not exist.")
    cfg = load_config(args.config, args.cfg_options)
    scope = cfg.get("default_scope")
    hooks = language_hooks(cfg, lambda node: find_type(node, HOOKS, scope))
    if not hooks:
        raise TransplantError(
            f"{args.config} has no lbbt_mm.{_HOOK} in custom_hooks: nothing to copy."
        )
    for key in ("language_model", "copies"):
        if any(key not in hook for hook in hooks):
            raise TransplantError(f"{_HOOK} in {args.config} lacks {key}.")
    if "model" not in cfg:
        raise TransplantError(f"{args.config} has no model to copy into.")
    require_scope(cfg, args.config)
    model = build_on_meta_device(cfg)
    filled: dict[str, list[Row]] = {}
    for number, hook in enumerate(hooks, 1):
        plan: CopyPlan | MimeticPlan
        if hook["language_model"] == SOURCE:
            plan = make_mimetic_plan(model, hook["copies"])
        else:
            checkpoint = open_checkpoint(hook["language_model"])
            plan = make_plan(model, checkpoint, hook["copies"], hook.get("accept", ()))
        if hook.get("pretrained", True):
            filled[f"hook {number} ({hook['language_model']})"] = plan.rows
        refuse_overlap(filled)
        print(plan.report().to_text())
        if args.all:
            for row in plan.rows:
                begin, end = row.rows
                chosen = f" of {row.selection}" if row.selection else ""
                print(
                    f"{row.parameter} <- {name_of(row.block)}, "
                    f"{row.part}[{begin}:{end}]{chosen}"
                )


if __name__ == "__main__":
    main()
