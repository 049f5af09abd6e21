"""How much faster is probing cached features than running the frozen model again?

Baseline: the frozen model runs over all images in each of the 100 epochs, as in the
authors' released code. One such epoch is measured here and multiplied; the probe's own
100 epochs are measured in full, and count on both sides.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import _launch  # noqa: E402

_launch.hide_gpus_if_asked()

import torch  # noqa: E402
from mmengine.device import get_device  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.registry import DATASETS, init_default_scope  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch.utils.data import DataLoader, Subset  # noqa: E402

from lbbt_mm.probe.features import (  # noqa: E402
    Features,
    cached_features,
    extract_features,
)
from lbbt_mm.probe.linear_probe import linear_probe  # noqa: E402
from lbbt_mm.probe.setup import (  # noqa: E402
    build_frozen_model,
    probe_dataloaders,
)
from lbbt_mm.version import require  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    _launch.add_common_options(parser)
    parser.add_argument("checkpoint", nargs="?", help="default: the unbridged model")
    parser.add_argument(
        "--images",
        type=int,
        default=512,
        help="images of each split, evenly spaced, 0 for all; default: %(default)s",
    )
    parser.add_argument("--epochs", type=int, default=100, help="default: %(default)s")
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="times that everything is measured, in turn; default: %(default)s",
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast")
    # Intermixed: CHECKPOINT is optional and may come after options.
    return parser.parse_intermixed_args()


def build_loader(loader: dict, images: int) -> DataLoader:
    """Build a loader over some images, evenly spaced: files may be sorted by class.

    Args:
        loader: Config of the loader.
        images: How many, 0 for all.

    Returns:
        The loader.
    """
    dataset = DATASETS.build(loader["dataset"])
    total = len(dataset)
    images = min(images or total, total)
    chosen = [i * total // images for i in range(images)]
    # Workers that stay, as they would for whoever runs the model in every epoch.
    persistent = loader.get("num_workers", 0) > 0
    return Runner.build_dataloader(
        dict(loader, dataset=Subset(dataset, chosen), persistent_workers=persistent)
    )


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    cfg = _launch.load_config(args)
    MMLogger.get_instance("benchmark", log_level="WARNING")
    require("mmpretrain", "A linear probe")
    init_default_scope(cfg.get("default_scope") or "mmpretrain")
    model = build_frozen_model(cfg, args.checkpoint)
    loaders = {
        split: build_loader(loader, args.images)
        for split, loader in probe_dataloaders(cfg).items()
    }

    def frozen_epoch(split: str) -> Features:
        return extract_features(model, loaders[split], get_device(), args.amp, split)

    rows: dict[str, list[float]] = {"frozen": [], "read": [], "probe": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.repeats):
            start = time.perf_counter()
            extracted = {split: frozen_epoch(split) for split in loaders}
            rows["frozen"].append(time.perf_counter() - start)
            for split, features in extracted.items():
                path = Path(folder) / f"{split}.safetensors"
                cached_features(path, lambda features=features: features)
            start = time.perf_counter()
            found = {
                split: cached_features(
                    Path(folder) / f"{split}.safetensors", lambda: None
                )[0]
                for split in loaders
            }
            rows["read"].append(time.perf_counter() - start)
            start = time.perf_counter()
            train, test = found["train"], found["test"]
            result = linear_probe(
                train.features,
                train.labels,
                test.features,
                test.labels,
                num_classes=int(max(train.labels.max(), test.labels.max())) + 1,
                epochs=args.epochs,
                device=get_device(),
            )
            rows["probe"].append(time.perf_counter() - start)

    frozen, read, probe = (statistics.median(rows[k]) for k in rows)
    baseline = args.epochs * frozen + probe
    device = torch.cuda.get_device_name() if get_device() == "cuda" else "cpu"
    print(
        f"\n{args.config}: {len(train.labels)} training and {len(test.labels)} test "
        f"images, {train.features.shape[1]} channels, {args.epochs} epochs, "
        f"{'bfloat16' if args.amp else 'float32'}, {device}, "
        f"{torch.get_num_threads()} thread(s); median of {args.repeats}; "
        f"test top-1 {result.last_test_top1:.2f} %\n\n"
        f"{'':<54}{'seconds':>10}{'speed-up':>10}\n"
        f"{f'frozen model in every epoch ({args.epochs} x {frozen:.2f} s)':<54}"
        f"{baseline:>10.2f}{1:>9}x\n"
        f"{'features extracted once, then probed':<54}"
        f"{frozen + probe:>10.2f}{baseline / (frozen + probe):>9.1f}x\n"
        f"{'features read from the cache, then probed':<54}"
        f"{read + probe:>10.2f}{baseline / (read + probe):>9.1f}x"
    )


if __name__ == "__main__":
    main()
