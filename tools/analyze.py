"""Measure what training did to a model: outliers, activation, alignment, retrieval ...

Without a checkpoint the model is measured as its config builds and initialises it;
with --initial too. CONFIG may also be a plain language model (gpt2, a folder,
package:NAME/FILE.gguf), of which outliers are measured. Each result is one JSON file
beside the checkpoint, in analysis/; what is there is not measured again.
docs/analysis.md lists all measurements; tools/report.py makes a page of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import platform
import shlex
import sys
import time
from typing import Any

import _launch
import _lifetime

_launch.hide_gpus_if_asked()

import torch  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402

from lbbt_mm.measure.measurements import MEASUREMENTS, Settings  # noqa: E402
from lbbt_mm.measure.targets import (  # noqa: E402
    Target,
    config_targets,
    language_target,
)
from lbbt_mm.version import __version__  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument("checkpoint", nargs="*", help="default: the model as built")
    parser.add_argument(
        "--initial", action="store_true", help="the model as it is built, too"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=list(MEASUREMENTS),
        default=list(MEASUREMENTS),
        metavar="NAME",
        help=f"of {', '.join(MEASUREMENTS)}; default: all",
    )
    parser.add_argument(
        "--list", action="store_true", help="show what is measured; measure nothing"
    )
    parser.add_argument(
        "--redo", action="store_true", help="measure again what is there"
    )
    numbers = parser.add_argument_group("how much is measured")
    for field in dataclasses.fields(Settings):
        numbers.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            metavar="N",
            help="default: %(default)s",
        )
    # Intermixed: checkpoints may come after options.
    args = parser.parse_intermixed_args()
    for field in dataclasses.fields(Settings):
        if field.name != "seed" and getattr(args, field.name) <= 0:
            name = field.name.replace("_", "-")
            parser.error(f"--{name} must be above 0; got {getattr(args, field.name)}")
    return args


def targets_of(args: argparse.Namespace) -> list[Target]:
    """Find the models that the command line names."""
    if not args.config.endswith(".py"):
        if args.checkpoint:
            _launch.fail(
                f"{args.config} is no config (.py), but checkpoints were given: give "
                f"the config that they were trained with."
            )
        return [language_target(args.config, args.work_dir)]
    cfg = _launch.load_config(args)
    if not cfg.get("model"):
        _launch.fail(f"{args.config} has no model: there is nothing to measure.")
    for checkpoint in args.checkpoint:
        _launch.check_checkpoint(checkpoint, local=True)
    return config_targets(
        cfg,
        args.config,
        args.checkpoint,
        initial=args.initial,
        work_dir=args.work_dir,
        device=get_device(),
        seed=args.seed,
    )


def provenance_of() -> dict[str, Any]:
    """Say by what command, on what and with what is measured."""
    gpu = get_device() == "cuda"
    return dict(
        command=shlex.join(["python", "tools/analyze.py", *sys.argv[1:]]),
        device=torch.cuda.get_device_name() if gpu else platform.machine(),
        cpus=os.cpu_count(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        lbbt_mm=__version__,
        commit=_launch.git_commit(),
        date=time.strftime("%Y-%m-%d"),
    )


def main() -> None:
    """Measure."""
    args = parse_args()
    names = [field.name for field in dataclasses.fields(Settings)]
    settings = Settings(**{name: getattr(args, name) for name in names})
    MMLogger.get_instance("analyze", log_level="WARNING")
    targets = targets_of(args)
    if args.list:
        for target in targets:
            for name in args.only:
                done = "done" if target.is_done(name, settings) else "-"
                print(f"{target.folder}/{name}: {done}")
        return
    provenance, failures = provenance_of(), []
    say = functools.partial(print, flush=True)
    for target in targets:
        todo = []
        for name in args.only:
            if args.redo or not target.is_done(name, settings):
                todo.append(name)
            else:
                print(f"{target.folder}/{name}: there already")
        if not todo:
            continue
        _launch.check_work_dir(target.folder)
        try:
            failures += target.measure(todo, settings, provenance, say)
        except OSError as error:
            _launch.fail_to_write("a result", target.folder, error)
    if failures:
        _launch.fail(
            f"{len(failures)} measurement(s) failed, the others are written: "
            + "; ".join(failures)
        )


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
