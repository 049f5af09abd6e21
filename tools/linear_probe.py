"""Probe a frozen classifier: extract its features once, train a linear layer on them.

With a checkpoint, the bridged patch embedding is kept. Without one, the unbridged
model is probed: language weights, and a patch embedding drawn with the config's seed.
The training images are those of train_dataloader with their TRUE labels, even where
the config wraps them in RandomLabelDataset; all images go through the test pipeline.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import shlex
import sys
from pathlib import Path
from typing import Any

import _launch
import _lifetime
import _processes

_launch.hide_gpus_if_asked()

# Those of lbbt_mm.probe.readouts and of lbbt_mm.probe.selection, which import torch.
READOUTS = ("last", "avg", "pixels")
DEFAULT_LRS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
DEFAULT_HELD_OUT = 0.1


def learning_rate(text: str) -> float:
    """Read one value of ``--lr-sweep``."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected learning rates, got {text!r}; put CHECKPOINT before this option"
        ) from None


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/linear_probe.py configs/bridge/"
        "smollm2-b8_language_random100_6e_mnist5k.py --epochs 10",
    )
    _launch.add_common_options(parser)
    parser.add_argument(
        "checkpoint", nargs="?", help="what to probe; default: the unbridged model"
    )
    parser.add_argument(
        "--epochs", type=_launch.positive, default=100, help="default: %(default)s"
    )
    parser.add_argument(
        "--batch-size",
        type=_launch.positive,
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
        "--readout",
        nargs="+",
        choices=READOUTS,
        default=[],
        metavar="NAME",
        help="the last token, the mean of tokens (avg), raw pixels without the model, "
        "or several from one pass over the images; default: the config's out_type",
    )
    parser.add_argument(
        "--block",
        type=int,
        metavar="N",
        help="read the tokens behind this block, from 0, or from the end (-1); the "
        "final norm follows the last one only; default: the config's out_indices",
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
    elif args.held_out is not None:
        parser.error("--held-out expects --lr-sweep, for which images are held out")
    return args


def prepare(args: argparse.Namespace) -> Any:
    """Read the config and check what can be checked before the long work."""
    if args.checkpoint:
        _launch.check_checkpoint(args.checkpoint, local=True)
    cfg = _launch.load_config(args)
    if not cfg.get("model"):
        _launch.fail(f"{args.config} has no model: there is nothing to probe.")
    if not args.checkpoint and cfg.get("load_from"):
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
    from mmengine.logging import MMLogger
    from mmengine.utils.dl_utils import set_multi_processing

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
    with _launch.console(verbose=False):
        run(args, cfg)


def run(args: argparse.Namespace, cfg: Any) -> None:
    """Extract, train and write, as the options say."""
    import mmengine
    import torch
    from mmengine.device import get_device

    from lbbt_mm.probe.readouts import WORDS
    from lbbt_mm.probe.run import ProbeSettings, record_readouts, run_probe
    from lbbt_mm.probe.selection import check_grid
    from lbbt_mm.probe.setup import probe_readouts
    from lbbt_mm.version import __version__

    model_seed = (cfg.get("randomness") or {}).get("seed") or 0
    say, work_dir = functools.partial(print, flush=True), Path(cfg.work_dir)
    settings = ProbeSettings(
        args.epochs,
        args.batch_size,
        args.lr,
        args.weight_decay,
        not args.no_standardize,
        args.seed,
    )
    # What is wrong with the config, the checkpoint or the data is in the message.
    with _launch.refusals(ValueError, OSError):
        if args.lr_sweep is not None:
            check_grid(args.lr_sweep, args.held_out)  # before the long work
        found = probe_readouts(
            cfg,
            args.checkpoint,
            list(dict.fromkeys(args.readout)),
            args.block,
            cache_dir=None if args.no_cache else work_dir / "features",
            device=get_device(),
            amp=args.amp,
            reinit_patch_embed=args.reinit_patch_embed,
            seed=model_seed,
        )
        runs, model = {}, args.checkpoint or "the unbridged model"
        for readout, data in found.items():
            title = WORDS.get(readout, "")
            for split, cached in data.cached.items():
                how = "read from the cache" if cached else "extracted"
                kind = f"{split} features{title and f' ({title})'}"
                say(f"{kind}: {how} in {data.seconds[split]:.1f} s")
            runs[readout] = run_probe(
                data, settings, args.lr_sweep, args.held_out, get_device(), say
            )
        for readout, run in runs.items():
            words = [WORDS[readout]] if readout else []
            if args.block is not None and readout != "pixels":
                words.append(f"block {args.block}")
            say(f"\n{run.table(', '.join([model, *words]))}\n")
    name = "linear_probe.json" if args.checkpoint else "linear_probe_unbridged.json"
    out = Path(args.out) if args.out else work_dir / name
    record = record_readouts(
        runs,
        args.block,
        config=args.config,
        checkpoint=args.checkpoint,
        checkpoint_sha256=data.weights if args.checkpoint else None,
        backbone_sha256=None if args.checkpoint else data.weights,
        patch_embed="drawn anew" if args.reinit_patch_embed else "kept",
        model_seed=model_seed,
        precision="bfloat16 autocast" if args.amp else "float32",
        command=shlex.join([Path(sys.executable).name, *sys.argv]),
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
    )
    text = json.dumps(record, indent=2) + "\n"
    _launch.write_or_fail("the result above", out, text)
    print(f"Written to {out}")


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
    _processes.end_process()
