"""What the command-line tools share: options, clear errors, CPU processes.

Imported by the scripts beside it. Nothing heavy is imported before ``--device`` has
been read: mmengine picks its device while it is being imported.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import _lifetime
from _parser import KeyValue, argument_parser, named_path, positive  # noqa: F401

# A clone works without installation; an installed package comes first.
sys.path.append(str(Path(__file__).resolve().parent.parent))
_lifetime.follow_parent()


def require_torch() -> None:
    """Refuse an interpreter that is not the environment's."""
    lacking = [n for n in ("torch", "mmengine") if importlib.util.find_spec(n) is None]
    if lacking:
        fail(
            f"{sys.executable} has no {' and no '.join(lacking)}: activate the "
            "environment (source .venv/bin/activate), or make it as "
            "docs/get_started.md says."
        )


def hide_gpus_if_asked(argv: list[str] | None = None) -> None:
    """Make ``--device cpu`` true for torch and mmengine; call before importing them."""
    require_torch()
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--device")
    if early.parse_known_args(argv)[0].device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


class Refused(SystemExit):
    """The end of a tool that could not do what it was asked."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 2  # as argparse's


def fail(message: str) -> NoReturn:
    """End with one sentence: what was expected, what was found, what to do."""
    message = f"{Path(sys.argv[0]).name}: error: {message}"
    print(message, file=sys.stderr)
    raise Refused(message)


@contextlib.contextmanager
def refusals(*more: type[Exception]) -> Iterator[None]:
    """End with the sentence of errors that say what is wrong with a user's files.

    Args:
        more: Other errors whose message is such a sentence.
    """
    from lbbt_mm.datasets.checks.damaged import DataError
    from lbbt_mm.language.errors import CheckpointError
    from lbbt_mm.transplant.errors import TransplantError

    try:
        yield
    except DataError as error:
        fail(error.sentence)
    except (CheckpointError, TransplantError, *more) as error:
        fail(str(error))


def add_verbose_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--verbose``, for tools that start a run."""
    parser.add_argument(
        "--verbose",
        action="store_true",
        help="show all that the log file gets: the whole config, hooks, environment",
    )


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="default: a GPU if there is one"
    )


def add_common_options(
    parser: argparse.ArgumentParser, configs: str | None = None
) -> None:
    """Add ``config`` (as argparse's nargs), ``--work-dir``, ``--cfg-options`` ..."""
    parser.add_argument(
        "config", nargs=configs, help="config file of mmpretrain, mmdet or mmseg"
    )
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints; default: work_dir of the config, or "
        "work_dirs/NAME_OF_THE_CONFIG, in the words of the variables that are set",
    )
    add_config_option(parser)
    add_device_option(parser)


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=KeyValue,
        metavar="KEY=VALUE",
        help="override settings of the config, for example train_cfg.max_epochs=3 "
        'model.backbone.out_indices="[0,2]"',
    )


def load_config(args: argparse.Namespace, may_be_trial: bool = False) -> Any:
    """Read the config and apply ``--cfg-options`` and ``--work-dir``.

    Args:
        args: The command line.
        may_be_trial: Whether the tool has the options of ``_trial.py``.
    """
    if not os.path.isfile(args.config):  # said before anything heavy is imported
        renamed = re.sub(r"_correct(?=[_+])", "_true", args.config)  # of 0.1.0
        now = f": it is called {renamed} now" if os.path.isfile(renamed) else ""
        if os.path.isdir(args.config):
            fail(f"{args.config} is a folder: name a config in it, a file NAME.py.")
        fail(
            f"the config {args.config} does not exist (from {os.getcwd()})"
            + (f"{now}." if now else _nearest_file(Path(args.config)))
        )
    from mmengine.device import get_device

    from lbbt_mm.config import ConfigError
    from lbbt_mm.config import load_config as load
    from lbbt_mm.config.run_name import run_name
    from lbbt_mm.version import require_scope

    if args.device and get_device() != args.device:
        fail(
            f"--device {args.device} was asked for, but mmengine found "
            f"{get_device()!r} on this machine."
        )
    try:
        cfg = load(args.config, args.cfg_options)
        trial = shorten(cfg, args) if may_be_trial else {}
        if trial:
            cfg = load(args.config, {**trial, **(args.cfg_options or {})})
    except ConfigError as error:
        fail(f"{args.config}: {error}")
    if args.work_dir:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        name = run_name(args.config, args.cfg_options or {})
        if trial and (args.images or args.blocks):  # a long run is not to go on from it
            name += "_trial"
        cfg.work_dir = os.path.join("work_dirs", name)
    try:
        require_scope(cfg, args.config)
    except ImportError as error:
        fail(str(error))
    return cfg


def _nearest_file(path: Path) -> str:
    """Such as ``': did you mean configs/bridge/NAME.py?'``, where one is alike."""
    beside = [file.name for file in path.parent.glob("*.py")]
    near = difflib.get_close_matches(path.name, beside, 1)
    return f": did you mean {path.with_name(near[0])}?" if near else "."


def shorten(cfg: Any, args: argparse.Namespace) -> dict[str, Any]:
    """Give the settings that make a run a trial, of a tool with such options."""
    names = ("images", "epochs", "iterations", "blocks")
    if not any(getattr(args, name, None) for name in names):
        return {}
    for key in ("model", "train_dataloader", "train_cfg"):
        if not cfg.get(key):
            fail(f"{args.config} has no {key}: there is nothing to train.")
    with console(args.verbose):
        from _trial import trial_options

        return trial_options(cfg, args)


def check_checkpoint(checkpoint: str, local: bool = False) -> None:
    """Refuse a local checkpoint that does not exist or cannot be read.

    Args:
        checkpoint: A file, or an address that mmengine resolves (``https://...``).
        local: Whether it has to be a file on this machine.
    """
    if "://" in checkpoint:
        if local:
            fail(
                f"{checkpoint} is an address, and the results name the file by its "
                "content: download it, and give its path."
            )
        return
    path, said = Path(checkpoint).expanduser(), f"the checkpoint {checkpoint}"
    try:
        if path.is_dir():
            fail(f"{said} is a folder: name a file in it, such as {path}/epoch_1.pth.")
        if not path.exists():
            fail(f"{said} does not exist (from {os.getcwd()}).")
        with path.open("rb") as file:
            if not file.read(1):
                fail(
                    f"{said} is empty: writing it was interrupted, take an earlier one."
                )
    except OSError as error:
        fail(f"{said} cannot be read ({error.strerror or error}).")


def check_work_dir(
    folder: str | Path, what: str = "work", option: str = "--work-dir"
) -> None:
    """Make a folder, or refuse one that cannot be made or written.

    Args:
        folder: It.
        what: What it is called.
        option: Names another one.
    """
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(prefix=".lbbt_mm-", dir=folder):
            return
    except FileExistsError:
        reason = "it is a file"
    except OSError as error:
        reason = error.strerror or str(error)
    fail(
        f"the {what} folder {folder} cannot be written ({reason}): name another one "
        f"with {option}."
    )


def prepare_dataloaders(cfg: Any, *names: str) -> None:
    """Complete data loaders as mmpretrain's own tools do, and where torch is strict."""
    from mmengine.device import get_device

    for name in names:
        loader = cfg.get(name)
        if not loader:
            continue
        workers = loader.get("num_workers", 0)
        if cfg.get("default_scope") == "mmpretrain":
            # mmpretrain's configs rely on these defaults of its tools.
            loader.setdefault("collate_fn", dict(type="default_collate"))
            loader.setdefault("pin_memory", get_device() == "cuda")
            loader.setdefault("persistent_workers", workers > 0)
        if not workers:
            loader["persistent_workers"] = False  # torch refuses True without workers
    check_images(cfg, *names)


def check_images(cfg: Any, *loaders: str) -> None:
    """Refuse to begin if images, or the files that list them, are not there."""
    from _missing import missing_images

    with console(verbose=False):  # it imports the libraries
        problem = missing_images(cfg, *loaders)
    if problem:
        fail(problem)


def check_prerequisites(cfg: Any) -> None:
    """Refuse to begin if something that our own tools make is not there."""
    from _missing import missing_prerequisite

    if problem := missing_prerequisite(cfg):
        fail(problem)


def write_whole(path: Path, content: str | bytes | Callable[[Path], Any]) -> None:
    """As :func:`lbbt_mm.files.write_whole`, which imports mmengine."""
    from lbbt_mm.files import write_whole

    write_whole(path, content)


def write_or_fail(
    what: str, path: str | Path, content: str | bytes | Callable[[Path], Any]
) -> None:
    """Write a file whole, or end with a sentence about what is in it."""
    try:
        write_whole(Path(path), content)
    except OSError as error:
        fail_to_write(what, path, error)


def fail_to_write(what: str, path: str | Path, error: OSError) -> NoReturn:
    """End with a sentence about a file that could not be written."""
    fail(
        f"{what} could not be written to {path} ({error.strerror or error}). Free some "
        "space or name another file, and run it again."
    )


def git_commit() -> str | None:
    """Short hash of the clone's commit; nothing where there is no clone."""
    said = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
    )
    return said.stdout.strip() or None


def console(verbose: bool) -> contextlib.AbstractContextManager[None]:
    """Leave out what other libraries say that tells a user nothing."""
    from lbbt_mm.neighbours.noise import hushed

    return contextlib.nullcontext() if verbose else hushed()


def build_runner(cfg: Any, verbose: bool = False) -> Any:
    """Build mmengine's runner, or the one that ``runner_type`` names.

    It runs no code from checkpoints, and says in one sentence which file of its data
    is wrong.

    Args:
        cfg: The config.
        verbose: Whether its console shows all that goes into its log file.
    """
    check_work_dir(cfg.work_dir)
    from _console import Headline, quiet_runner, runner_class

    from lbbt_mm.datasets.checks.guard import build_guarded

    kind = runner_class(cfg)
    runner = (kind if verbose else quiet_runner(kind)).from_cfg(cfg)
    runner.register_hook(Headline())
    build = runner.build_dataloader

    def build_dataloader(dataloader: Any, *args: Any, **kwargs: Any) -> Any:
        return build_guarded(lambda: build(dataloader, *args, **kwargs), dataloader)

    # Its loops ask the runner; before any worker of a data loader is started.
    runner.build_dataloader = build_dataloader
    return runner
