"""Evaluate a checkpoint with any config of mmpretrain, mmdet or mmseg."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import _launch
import _lifetime
import _processes

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/test.py \\\n      configs/bridge/"
        "smollm2-b8_language_random100_6e_mnist5k.py \\\n"
        "      work_dirs/smollm2-b8_language_random100_6e_mnist5k/epoch_6.pth",
    )
    _launch.add_common_options(parser)
    parser.add_argument("checkpoint", help="checkpoint to evaluate")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="write the metrics (FILE.json) or every prediction (FILE.pkl)",
    )
    parser.add_argument(
        "--amp", action="store_true", help="evaluate under bfloat16 autocast"
    )
    parser.add_argument(
        "--tta",
        action="store_true",
        help="average over the views of each image that tta_pipeline of the config "
        "makes, for example several scales; tta_model of the config says how",
    )
    parser.add_argument(
        "--show-dir",
        help="folder for pictures of the predictions; the config needs a "
        "visualization hook, as those of mmpretrain, mmdet (which puts the folder "
        "inside the work folder) and mmseg have",
    )
    _launch.add_verbose_option(parser)
    _processes.add_launcher_options(parser)
    args = parser.parse_args()
    if args.out and not args.out.endswith((".json", ".pkl")):
        parser.error(f"--out expects FILE.json or FILE.pkl, got {args.out}")
    return args


def average_over_views(cfg: Any) -> None:
    """Wrap the model and exchange the test images' pipeline, as mmseg's tool does."""
    if not (cfg.get("tta_model") and cfg.get("tta_pipeline")):
        _launch.fail(
            "--tta expects tta_model and tta_pipeline in the config, as those in "
            "configs/segmenter have."
        )
    dataset = cfg.test_dataloader.dataset
    while "dataset" in dataset:  # wrappers have no pipeline of their own
        dataset = dataset.dataset
    dataset.pipeline = cfg.tta_pipeline
    cfg.model = dict(cfg.tta_model, module=cfg.model)


def draw_predictions(cfg: Any, folder: str) -> None:
    """Switch on the visualization hook; the three libraries name things differently."""
    hook = (cfg.get("default_hooks") or {}).get("visualization")
    if not hook:
        _launch.fail(
            "--show-dir expects default_hooks.visualization in the config, for "
            "example dict(type='VisualizationHook') for mmpretrain."
        )
    from mmengine.registry import HOOKS

    from lbbt_mm.registry import names_of

    names = names_of(hook, HOOKS, cfg.get("default_scope"))
    if "DetVisualizationHook" in names:
        hook.update(draw=True, test_out_dir=folder)
    elif "SegVisualizationHook" in names:
        hook["draw"] = True
        cfg.visualizer["save_dir"] = folder
    elif "VisualizationHook" in names:  # mmpretrain
        hook.update(enable=True, out_dir=folder)
    else:
        _launch.fail(f"--show-dir does not know how to switch on a {hook['type']}.")


def main() -> None:
    """Evaluate."""
    args = parse_args()
    _launch.check_checkpoint(args.checkpoint)
    cfg = _launch.load_config(args)
    for key in ("model", "test_dataloader", "test_evaluator"):
        if not cfg.get(key):
            _launch.fail(f"{args.config} has no {key}: there is nothing to evaluate.")
    with _launch.console(args.verbose):
        evaluate(cfg, args)


def evaluate(cfg: Any, args: argparse.Namespace) -> None:
    """Evaluate the checkpoint, as the options change the config."""
    import mmengine
    import torch
    from _evaluation import Predictions, SameBlocks
    from mmengine.dist import is_main_process

    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.show_dir:
        draw_predictions(cfg, args.show_dir)
    if args.amp:
        # mmengine's flag means "autocast"; on CPU that is bfloat16, on GPU whatever
        # torch's default says, and float16 overflows on a language model's channels.
        cfg.test_cfg = dict(cfg.get("test_cfg") or {}, fp16=True)
        if hasattr(torch, "set_autocast_dtype"):
            torch.set_autocast_dtype("cuda", torch.bfloat16)
        else:  # before torch 2.4
            torch.set_autocast_gpu_dtype(torch.bfloat16)
    if args.tta:
        average_over_views(cfg)
    if args.out:  # before an evaluation of hours, not after
        _launch.check_work_dir(Path(args.out).parent, "output", "--out")
    _launch.prepare_dataloaders(cfg, "test_dataloader")
    _processes.prepare_launch(cfg, args.launcher, args.local_rank)

    with _launch.refusals():
        runner = _launch.build_runner(cfg, args.verbose)
        runner.register_hook(SameBlocks())
        predictions = None
        if args.out and args.out.endswith(".pkl"):
            predictions = Predictions(args.out)
            runner.test_evaluator.metrics.append(predictions)
        metrics = runner.test()
    if args.out and args.out.endswith(".json") and is_main_process():
        text = mmengine.dump(metrics, file_format="json", indent=2)
        _launch.write_or_fail("the metrics", args.out, text)
    if predictions and predictions.problem:
        _launch.fail_to_write("the predictions", args.out, predictions.problem)


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
    _processes.end_process()
