"""Images enlarged by the data preprocessor, against enlarged by the data loader.

The pipeline of configs/_base_/datasets/cifar10.py runs on random images, in one process
and thread, once as it is and once with a Resize before its last transform. The data
preprocessor then normalises, and enlarges in the first case. The two take turns.
Baseline: mmpretrain's Resize (OpenCV, bicubic) in the pipeline.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))


def measure(enlarge: str, images: list, batch_size: int, device: str) -> dict:
    """Time the pipeline and the data preprocessor.

    Args:
        enlarge: ``'device'`` or ``'loader'``.
        images: uint8 arrays (32, 32, 3).
        batch_size: Images in a batch.
        device: Where the data preprocessor works.

    Returns:
        Microseconds an image in the loader and on the device, bytes an image between.
    """
    import torch
    from mmengine.config import Config
    from mmengine.dataset import Compose, default_collate
    from mmengine.registry import MODELS

    cfg = Config.fromfile(ROOT / "configs/_base_/datasets/cifar10.py")
    preprocessor, pipeline = cfg.data_preprocessor, list(cfg.train_pipeline)
    if enlarge == "loader":
        resize = dict(type="Resize", scale=cfg.enlarged_size, interpolation="bicubic")
        pipeline.insert(-1, resize)
        preprocessor = preprocessor.preprocessor
    pipeline, preprocessor = Compose(pipeline), MODELS.build(preprocessor).to(device)

    start = time.perf_counter()
    batches = []
    for first in range(0, len(images), batch_size):
        part = images[first : first + batch_size]
        packed = [pipeline(dict(img=image, gt_label=0)) for image in part]
        batches.append(default_collate(packed))
    loaded = time.perf_counter()
    for batch in batches:
        done = preprocessor(batch, True)["inputs"]
    if done.is_cuda:
        torch.cuda.synchronize()
    worked = time.perf_counter()
    assert done.shape[-1] == cfg.enlarged_size
    return dict(
        loader=1e6 * (loaded - start) / len(images),
        device=1e6 * (worked - loaded) / len(images),
        bytes=batches[0]["inputs"][0].numel(),
    )


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()

    import numpy as np
    import torch
    from mmengine.registry import init_default_scope

    init_default_scope("mmpretrain")
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = (args.images, 32, 32, 3)
    images = list(np.random.RandomState(0).randint(0, 256, shape, np.uint8))
    found: dict[str, list[dict]] = {"loader": [], "device": []}
    for run in range(args.runs + 1):
        for what, results in found.items():
            result = measure(what, images, args.batch_size, device)
            if run:  # the first one warms up
                results.append(result)

    print(f"{'median of ' + str(args.runs):<34}{'loader':>9}{device:>9}{'bytes':>9}")
    rows = {"on the device": "device", "in the loader (baseline)": "loader"}
    medians = {}
    for name, what in rows.items():
        medians[what] = {
            key: statistics.median(result[key] for result in found[what])
            for key in ("loader", "device", "bytes")
        }
        print(f"{name:<34}" + "".join(f"{v:>9.0f}" for v in medians[what].values()))
    ratio = medians["loader"]["loader"] / medians["device"]["loader"]
    print(f"\nmicroseconds an image; the loader is {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
