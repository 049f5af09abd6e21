"""Probe a frozen classifier: extract its features once, train a linear layer on them.

With a checkpoint, the bridged patch embedding is kept. Without one, the unbridged
model is probed: language weights, and a patch embedding drawn with the config's seed.
The training images are those of train_dataloader with their TRUE labels, even where
the config wraps them in RandomLabelDataset; all images go through the test pipeline.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import _launch
import _lifetime

_launch.hide_gpus_if_asked()

import mmengine  # noqa: E402
import torch  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.utils.dl_utils import set_multi_processing  # noqa: E402

from lbbt_mm.datasets.damaged import DataError  # noqa: E402
from lbbt_mm.language.errors import CheckpointError  # noqa: E402
from lbbt_mm.probe.linear_probe import LinearProbeResult, linear_probe  # noqa: E402
from lbbt_mm.probe.selection import (  # noqa: E402
    DEFAULT_HELD_OUT,
    DEFAULT_LRS,
    LearningRateSelection,
    check_grid,
    select_learning_rate,
)
from lbbt_mm.probe.setup import ProbeData, probe_features  # noqa: E402
from lbbt_mm.version import __version__  # noqa: E402


def learning_rate(text: str) -> float:
    """Read one value of ``--lr-sweep``.

    Args:
        text: A word of the command line.

    Returns:
        The number.
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected learning rates, got {text!r}; put CHECKPOINT before this option"
        ) from None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument(
        "checkpoint", nargs="?", help="what to probe; default: the unbridged model"
    )
    parser.add_argument("--epochs", type=int, default=100, help="default: %(default)s")
    parser.add_argument(
        "--batch-size",
        type=int,
        default=128,
        help="images per step of the probe, default: %(default)s; that of extraction "
        "is test_dataloader.batch_size",
    )
    rates = parser.add_mutually_exclusive_group()
    rates.add_argument(
        "--lr",
        type=float,
        default=1e-3,
        help="of AdamW, cosine to 0, default: %(default)s",
    )
    rates.add_argument(
        "--lr-sweep",
        nargs="*",
        type=learning_rate,
        metavar="LR",
        help="choose the learning rate on held-out training images, then probe with "
        f"all of them; default: {' '.join(map(str, DEFAULT_LRS))}",
    )
    parser.add_argument(
        "--held-out",
        type=float,
        metavar="SHARE",
        help="of the training images of each class, for --lr-sweep; default: "
        f"{DEFAULT_HELD_OUT}",
    )
    parser.add_argument(
        "--weight-decay", type=float, default=0.05, help="default: %(default)s"
    )
    parser.add_argument(
        "--no-standardize",
        action="store_true",
        help="leave the features as they are; by default each channel is shifted and "
        "scaled by its mean and standard deviation over the training images",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the order of the images in the probe, default: %(default)s; the "
        "model's own is randomness.seed in the config (0 if unset)",
    )
    parser.add_argument(
        "--amp", action="store_true", help="run the model under bfloat16 autocast"
    )
    parser.add_argument(
        "--reinit-patch-embed",
        action="store_true",
        help="draw the patch embedding anew after loading the checkpoint, as the "
        "authors' released code does",
    )
    parser.add_argument(
        "--no-cache",
        action="store_true",
        help="extract features even if WORK_DIR/features has them, and do not keep "
        "them",
    )
    parser.add_argument(
        "--out",
        metavar="FILE.json",
        help="default: WORK_DIR/linear_probe.json, or linear_probe_unbridged.json",
    )
    # Intermixed: CHECKPOINT is optional and may come after options.
    args = parser.parse_intermixed_args()
    if args.lr_sweep is not None:
        args.lr_sweep = args.lr_sweep or list(DEFAULT_LRS)
        args.held_out = DEFAULT_HELD_OUT if args.held_out is None else args.held_out
        try:
            check_grid(args.lr_sweep, args.held_out)  # before the long work
        except ValueError as error:
            parser.error(str(error))
    elif args.held_out is not None:
        parser.error("--held-out expects --lr-sweep, for which images are held out")
    return args


def save_results(
    path: Path,
    args: argparse.Namespace,
    data: ProbeData,
    result: LinearProbeResult,
    selection: LearningRateSelection | None,
    seconds: dict[str, float],
    model_seed: int,
) -> None:
    """Write the numbers with everything that is needed to get them again.

    Args:
        path: Where to.
        args: The command line.
        data: The features.
        result: The probe's accuracies.
        selection: How the learning rate was chosen, if it was.
        seconds: How long choosing and probing took.
        model_seed: Seed of the model's initialisation.
    """
    record = dict(
        last_test_top1=result.last_test_top1,
        last_train_top1=result.last_train_top1,
        best_test_top1=result.best_test_top1,
        best_epoch=result.best_epoch,
        chance=result.chance,
        majority=result.majority,
        config=args.config,
        checkpoint=args.checkpoint,
        checkpoint_sha256=data.weights if args.checkpoint else None,
        backbone_sha256=None if args.checkpoint else data.weights,
        patch_embed="drawn anew" if args.reinit_patch_embed else "kept",
        seed=args.seed,
        model_seed=model_seed,
        command=shlex.join([Path(sys.executable).name, *sys.argv]),
        images=dict(train=len(data.train.labels), test=len(data.test.labels)),
        channels=data.train.features.shape[1],
        num_classes=data.num_classes,
        probe=dict(
            optimizer="AdamW",
            schedule="cosine to 0",
            epochs=args.epochs,
            batch_size=args.batch_size,
            lr=selection.chosen if selection else args.lr,
            weight_decay=args.weight_decay,
            standardize=not args.no_standardize,
        ),
        lr_sweep=selection
        and dict(
            lrs=selection.lrs,
            held_out_top1=selection.held_out_top1,
            held_out_loss=selection.held_out_loss,
            chosen=selection.chosen,
            at_edge=selection.at_edge,
            images=dict(
                train=selection.train_images, held_out=selection.held_out_images
            ),
        ),
        precision="bfloat16 autocast" if args.amp else "float32",
        seconds=dict(
            train_features=data.seconds["train"],
            test_features=data.seconds["test"],
            **seconds,
        ),
        features_from_cache=data.cached,
        versions=dict(
            lbbt_mm=__version__,
            torch=torch.__version__,
            mmengine=mmengine.__version__,
            python=platform.python_version(),
        ),
        machine=dict(
            device=torch.cuda.get_device_name() if get_device() == "cuda" else "cpu",
            processor=platform.machine(),
            cpus=os.cpu_count(),
        ),
        train_top1=result.train_top1,
        test_top1=result.test_top1,
    )
    text = json.dumps(record, indent=2) + "\n"
    try:
        _launch.write_whole(path, text)
    except OSError as error:
        _launch.fail_to_write("the result above", path, error)


def print_table(
    args: argparse.Namespace,
    data: ProbeData,
    result: LinearProbeResult,
    selection: LearningRateSelection | None,
) -> None:
    """Show the result.

    Args:
        args: The command line.
        data: The features.
        result: The probe's accuracies.
        selection: How the learning rate was chosen, if it was.
    """
    chosen = (
        f", learning rate {selection.chosen:g} of {len(selection.lrs)}, chosen on "
        "held-out training images"
        if selection
        else ""
    )
    print(
        f"\nLinear probe of {args.checkpoint or 'the unbridged model'}: "
        f"{len(data.train.labels)} training and {len(data.test.labels)} test images, "
        f"{data.train.features.shape[1]} channels, {data.num_classes} classes"
        f"{chosen}\n\n"
        f"{'top-1 in %':<24}{'train':>8}{'test':>8}\n"
        f"{f'last epoch ({args.epochs})':<24}"
        f"{result.last_train_top1:>8.2f}{result.last_test_top1:>8.2f}\n"
        f"{f'best epoch ({result.best_epoch})':<24}"
        f"{'':>8}{result.best_test_top1:>8.2f}  (chosen on the test images)\n"
        f"{'chance':<24}{'':>8}{result.chance:>8.2f}\n"
        f"{'commonest class':<24}{'':>8}{result.majority:>8.2f}\n"
    )


def print_selection(selection: LearningRateSelection) -> None:
    """Show how the learning rate was chosen.

    Args:
        selection: The grid and what came of it.
    """
    print(
        f"\nlearning rates on {selection.held_out_images} held-out training images, "
        f"trained on the other {selection.train_images} (one image is "
        f"{100 / selection.held_out_images:.3g} points):\n"
        f"{'':<12}{'top-1 in %':>12}{'loss':>10}"
    )
    rows = zip(
        selection.lrs, selection.held_out_top1, selection.held_out_loss, strict=True
    )
    for lr, top1, loss in rows:
        mark = "  chosen" if lr == selection.chosen else ""
        print(f"{lr:<12g}{top1:>12.2f}{loss:>10.4f}{mark}")
    if selection.at_edge:
        print(
            f"{selection.chosen:g} is at the edge of the grid: one beyond it may be "
            "better; widen --lr-sweep."
        )
    print(flush=True)


def probe(
    args: argparse.Namespace, data: ProbeData
) -> tuple[LearningRateSelection | None, LinearProbeResult, dict[str, float]]:
    """Choose the learning rate if asked to, and probe.

    Args:
        args: The command line.
        data: The features.

    Returns:
        The choice, the probe's accuracies, and how long either took in seconds.
    """
    settings = dict(
        epochs=args.epochs,
        batch_size=args.batch_size,
        weight_decay=args.weight_decay,
        standardize=not args.no_standardize,
        seed=args.seed,
        device=get_device(),
    )
    train, test = data.train, data.test
    selection, seconds, lr = None, {}, args.lr

    def due(epoch: int) -> bool:
        return epoch % max(1, args.epochs // 10) == 0

    def on_sweep_epoch(epoch: int) -> None:
        if due(epoch):
            print(f"learning rates, epoch {epoch:>4}/{args.epochs}", flush=True)

    def on_epoch(epoch: int, train_top1: float, test_top1: float) -> None:
        if due(epoch):
            print(
                f"epoch {epoch:>4}/{args.epochs}: "
                f"train {train_top1:6.2f}  test {test_top1:6.2f}",
                flush=True,
            )

    start = time.perf_counter()
    if args.lr_sweep:
        selection = select_learning_rate(
            train.features,
            train.labels,
            data.num_classes,
            args.lr_sweep,
            args.held_out,
            on_epoch=on_sweep_epoch,
            **settings,
        )
        print_selection(selection)
        lr = selection.chosen
        seconds["lr_sweep"] = time.perf_counter() - start
    start = time.perf_counter()
    result = linear_probe(
        train.features,
        train.labels,
        test.features,
        test.labels,
        data.num_classes,
        lr=lr,
        on_epoch=on_epoch,
        **settings,
    )
    seconds["probing"] = time.perf_counter() - start
    return selection, result, seconds


def prepare(args: argparse.Namespace) -> Any:
    """Read the config and check what can be checked before the long work.

    Args:
        args: The command line.

    Returns:
        The config.
    """
    cfg = _launch.load_config(args)
    if not cfg.get("model"):
        _launch.fail(f"{args.config} has no model: there is nothing to probe.")
    if args.checkpoint:
        _launch.check_checkpoint(args.checkpoint, local=True)
    elif cfg.get("load_from"):
        _launch.fail(
            f"{args.config} has load_from={cfg.load_from!r}, but no CHECKPOINT was "
            "given. Give it as CHECKPOINT, or probe the unbridged model with "
            "--cfg-options load_from=None."
        )
    _launch.check_images(cfg, "train_dataloader", "test_dataloader")
    if not args.checkpoint:
        _launch.check_prerequisites(cfg)
    log_file = os.path.join(cfg.work_dir, "linear_probe.log")
    _launch.check_work_dir(cfg.work_dir)
    try:
        # mmengine lists every parameter's initialisation: in the file, if there is one.
        MMLogger.get_instance("linear_probe", log_file=log_file)
    except OSError as error:
        _launch.fail_to_write("the log", log_file, error)
    set_multi_processing(**(cfg.get("env_cfg") or {}).get("mp_cfg", {}))
    return cfg


def main() -> None:
    """Probe."""
    args = parse_args()
    cfg = prepare(args)
    seed = (cfg.get("randomness") or {}).get("seed") or 0
    work_dir = Path(cfg.work_dir)
    try:
        data = probe_features(
            cfg,
            args.checkpoint,
            cache_dir=None if args.no_cache else work_dir / "features",
            device=get_device(),
            amp=args.amp,
            reinit_patch_embed=args.reinit_patch_embed,
            seed=seed,
        )
        for split, cached in data.cached.items():
            how = "read from the cache" if cached else "extracted"
            print(f"{split} features: {how} in {data.seconds[split]:.1f} s")

        selection, result, seconds = probe(args, data)
    except (ValueError, OSError, CheckpointError) as error:
        # What is wrong with the config, the checkpoint or the data is in the message.
        _launch.fail(str(error))
    except DataError as error:
        _launch.fail(error.sentence)
    print_table(args, data, result, selection)
    name = "linear_probe.json" if args.checkpoint else "linear_probe_unbridged.json"
    out = Path(args.out) if args.out else work_dir / name
    save_results(out, args, data, result, selection, seconds, seed)
    print(f"Written to {out}")


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
    _launch.end_process()
