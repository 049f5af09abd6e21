"""Score what needs no model: mean boxes, the commonest class, the commonest answers.

A detector, a segmenter or a LLaVA that does not beat these numbers has learned nothing
from the images. The training annotations of CONFIG give the answer, its test images and
test_evaluator the score. Of a config with blind_train (a lbbt_mm.VQADataset with the
training questions) it is the commonest answer of each type of question, scored on
val_dataloader, as test_dataloader may show exchanged images.
"""

from __future__ import annotations

import json
from pathlib import Path

import _launch

_launch.hide_gpus_if_asked()


def main() -> None:
    """Score, print and write."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/constant_baseline.py \\\n      projects/fashion_scenes/configs/"
        "segmenter/segmenter-r18_small-gpt2_language_1xb8-1k_fashion-scenes.py",
    )
    _launch.add_common_options(parser)
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="copy of them")
    args = parser.parse_args()
    cfg = _launch.load_config(args)
    from lbbt_mm.measure.baseline import score_baseline, scored_part

    part = scored_part(cfg)
    for key in ("train_dataloader", f"{part}_dataloader", f"{part}_evaluator"):
        if not cfg.get(key):
            _launch.fail(f"{args.config} has no {key}: there is nothing to score.")
    _launch.prepare_dataloaders(cfg, "train_dataloader", f"{part}_dataloader")
    print("constant baseline: reads the training annotations", flush=True)
    with _launch.refusals(ValueError):
        scores = score_baseline(cfg, progress=True)
    for name, value in scores.items():
        print(f"{name}: {value:.4g}")
    if args.out:
        text = json.dumps(scores, indent=1) + "\n"
        _launch.write_or_fail("the scores", args.out, text)
        print(f"Written to {args.out}")


if __name__ == "__main__":
    main()
