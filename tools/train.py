"""Train any config of mmpretrain, mmdet or mmseg."""

from __future__ import annotations

import argparse
import os
from typing import Any

import _launch
import _lifetime
import _processes

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/train.py configs/bridge/smollm2-b8_language_random100_6e_mnist5k"
        ".py \\\n      --images 512 --epochs 2 --blocks 4",
    )
    _launch.add_common_options(parser)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from this checkpoint; without a value, from the latest complete "
        "one in the work folder, or from the start if there is none",
    )
    parser.add_argument(
        "--amp",
        action="store_true",
        help="bfloat16 autocast on CPU and GPU (lbbt_mm.AutocastOptimWrapper)",
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by batch size / auto_scale_lr.base_batch_size",
    )
    parser.add_argument(
        "--no-validate", action="store_true", help="do not evaluate while training"
    )
    trial = parser.add_argument_group("a short trial (docs/trial.md)")
    for name, what in (
        ("images", "so many training images, and no more to evaluate on"),
        ("epochs", "train for so long; the schedules follow"),
        ("iterations", "the same, of a config that counts in iterations"),
        ("blocks", "so many blocks of the language model"),
    ):
        trial.add_argument(f"--{name}", type=_launch.positive, metavar="N", help=what)
    _launch.add_verbose_option(parser)
    _processes.add_launcher_options(parser)
    return parser.parse_args()


def use_autocast(cfg: Any) -> None:
    """Exchange the optimiser wrapper for one under bfloat16 autocast."""
    from mmengine.optim import AmpOptimWrapper, OptimWrapper

    from lbbt_mm.optim import AutocastOptimWrapper
    from lbbt_mm.registry import OPTIM_WRAPPERS, find_type

    wrapper = cfg.optim_wrapper
    kind = wrapper.get("type", "OptimWrapper")
    # None of their subclasses: what those add would be lost.
    plain = (AmpOptimWrapper, AutocastOptimWrapper, OptimWrapper)
    if find_type(kind, OPTIM_WRAPPERS, cfg.get("default_scope")) not in plain:
        _launch.fail(
            f"--amp can replace an optim_wrapper of type "
            f"{', '.join(one.__name__ for one in plain)}, got "
            f"{getattr(kind, '__name__', kind)}. Set its precision in the config."
        )
    wrapper["type"] = "lbbt_mm.AutocastOptimWrapper"
    wrapper["dtype"] = "bfloat16"
    for key in ("loss_scale", "use_fsdp"):  # bfloat16 needs no loss scaling
        wrapper.pop(key, None)


def drop_fused_if_unsupported(cfg: Any) -> None:
    """Take ``fused=True`` off where this torch has it on GPU only.

    The result is the same, a little slower; on CPU it exists from torch 2.4 on.
    """
    import torch
    from mmengine.device import get_device

    optimizer = cfg.optim_wrapper.get("optimizer") or {}
    kind = optimizer.get("type")
    if isinstance(kind, str):
        kind = getattr(torch.optim, kind, None)
    if not optimizer.get("fused") or kind is None or get_device() != "cpu":
        return
    try:
        kind([torch.nn.Parameter(torch.zeros(1))], lr=0.1, fused=True)
    except RuntimeError:
        print(
            f"torch {torch.__version__} has no fused {kind.__name__} on CPU: going on "
            "with fused=False (same result)."
        )
        optimizer["fused"] = False


def check_optimizer(cfg: Any) -> None:
    """Refuse an optimiser that nobody has; mmengine ends in a riddle."""
    from mmengine.optim import OPTIMIZERS  # with torch's in it

    from lbbt_mm.config.names import nearest
    from lbbt_mm.registry import find_type

    optimizer = cfg.optim_wrapper.get("optimizer") or {}
    kind, scope = optimizer.get("type"), cfg.get("default_scope")
    if isinstance(kind, str) and find_type(optimizer, OPTIMIZERS, scope) is None:
        meant = nearest(kind, OPTIMIZERS.module_dict) or "AdamW, SGD"
        _launch.fail(
            f"optim_wrapper.optimizer.type expects an optimiser of torch, mmengine or "
            f"your own (custom_imports), got {kind!r}: did you mean {meant}?"
        )


def apply_options(cfg: Any, args: argparse.Namespace) -> None:
    """Write the options into the config."""
    check_optimizer(cfg)
    drop_fused_if_unsupported(cfg)
    if args.amp:
        use_autocast(cfg)
    if args.auto_scale_lr:
        if not (cfg.get("auto_scale_lr") or {}).get("base_batch_size"):
            _launch.fail(
                "--auto-scale-lr expects auto_scale_lr.base_batch_size in the config, "
                "the batch size that its learning rate was chosen for."
            )
        cfg.auto_scale_lr.enable = True
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None

    if args.resume:
        resume(cfg, args.resume)
    elif cfg.get("load_from"):
        _launch.check_checkpoint(cfg.load_from)


def resume(cfg: Any, checkpoint: str) -> None:
    """Go on from a file, or with ``'auto'`` from the latest complete one there."""
    from lbbt_mm.hooks.atomic_checkpoint import is_complete, latest_checkpoint

    if checkpoint == "auto":
        # Not mmengine's own search, which takes whatever `last_checkpoint` names.
        try:
            latest = latest_checkpoint(cfg.work_dir)
        except OSError as error:
            _launch.fail(
                f"the checkpoint {error.filename} cannot be read ({error.strerror})."
            )
        if latest is None:
            print(f"No complete checkpoint in {cfg.work_dir}: starting from the start.")
            return
        print(f"Going on from {latest}.")
        checkpoint = latest
    else:
        _launch.check_checkpoint(checkpoint)
        if os.path.isfile(checkpoint) and not is_complete(checkpoint):
            _launch.fail(
                f"the checkpoint {checkpoint} is not complete: writing it was "
                "interrupted. --resume without a value takes the latest complete one."
            )
    cfg.resume, cfg.load_from = True, checkpoint


def take_folder(work_dir: str) -> Any:
    """Keep a second training out of the work folder, which exists."""
    from lbbt_mm.folder_lock import FolderInUseError, FolderLock

    try:
        return FolderLock(work_dir)
    except FolderInUseError as error:
        _launch.fail(str(error))
    except OSError as error:
        print(f"{work_dir} cannot be locked ({error}): going on without.")
        return None


def see_to_the_end(runner: Any) -> None:
    """Let the run end with a checkpoint, and say if it cannot go on exactly.

    A checkpoint with more or fewer blocks is refused: mmengine loads those that fit.
    """
    from _evaluation import SameBlocks
    from mmengine.runner import Runner

    from lbbt_mm.hooks.random_state import RandomStateHook
    from lbbt_mm.hooks.termination import TerminationHook

    if isinstance(runner, Runner):  # others have shards of the blocks
        runner.register_hook(SameBlocks())
    kinds = [type(hook) for hook in runner.hooks]
    if not any(issubclass(kind, TerminationHook) for kind in kinds):
        runner.register_hook(TerminationHook())
    exact = any(issubclass(kind, RandomStateHook) for kind in kinds)
    if runner.cfg.get("resume") and not exact:
        runner.logger.warning(
            "Without lbbt_mm.RandomStateHook the resumed run is a valid one, but not "
            "the one that was interrupted: its random numbers (augmentation, dropout) "
            "begin anew, and gradients in flight are lost. With dict(type="
            "'lbbt_mm.RandomStateHook') in custom_hooks, from the first start on, it "
            "goes on exactly."
        )


def main() -> None:
    """Train."""
    args = parse_args()
    cfg = _launch.load_config(args, may_be_trial=True)
    for key in ("model", "train_dataloader", "train_cfg", "optim_wrapper"):
        if not cfg.get(key):
            _launch.fail(f"{args.config} has no {key}: there is nothing to train.")
    with _launch.console(args.verbose):
        train(cfg, args)


def train(cfg: Any, args: argparse.Namespace) -> None:
    """Train what the config says, as the options change it."""
    apply_options(cfg, args)
    _launch.prepare_dataloaders(cfg, "train_dataloader", "val_dataloader")
    if not cfg.get("resume"):
        _launch.check_prerequisites(cfg)
    _processes.prepare_launch(cfg, args.launcher, args.local_rank)
    _launch.check_work_dir(cfg.work_dir)
    from lbbt_mm.hooks.atomic_checkpoint import CheckpointWriteError, latest_checkpoint
    from lbbt_mm.hooks.termination import RunEnded

    lock = (
        take_folder(cfg.work_dir)
        if _processes.is_first_process(args.launcher)
        else None
    )
    try:
        with _launch.refusals(CheckpointWriteError):
            runner = _launch.build_runner(cfg, args.verbose)
            _lifetime.say_once_that_the_log_is_full(runner.logger)
            see_to_the_end(runner)
            runner.train()
    except RunEnded as end:
        _processes.end_process(end.code)
        raise
    except OSError as error:
        if error.errno not in _lifetime.FULL:
            raise
        kept = latest_checkpoint(cfg.work_dir)
        _launch.fail(
            f"{error.filename or cfg.work_dir} could not be written "
            f"({error.strerror}). Free some space and go on with --resume"
            + (f"; {kept} is intact." if kept else ".")
        )
    finally:
        if lock is not None:
            lock.release()


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
    _processes.end_process()
