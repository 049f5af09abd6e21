"""Score a segmenter that never looks: each place's commonest class, CamVid's test.

A camera behind a windscreen sees sky above and road below, so this is a harder baseline
than tools/constant_baseline.py, which has one class for all places.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = 11


def label_maps(folder: Path) -> list[np.ndarray]:
    """Read the label maps of a folder, all of one size."""
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise SystemExit(f"{folder} has no *.png: python tools/prepare_data.py camvid")
    return [np.asarray(Image.open(path)) for path in paths]


def prior(maps: list[np.ndarray]) -> np.ndarray:
    """Find the commonest class of each place."""
    counts = np.stack([sum((one == c).astype(int) for one in maps)
                       for c in range(CLASSES)])  # fmt: skip
    return counts.argmax(axis=0)


def mean_iou(prediction: np.ndarray, maps: list[np.ndarray]) -> float:
    """Score one prediction for all images, in %; void (255) does not count."""
    common, either = np.zeros(CLASSES), np.zeros(CLASSES)
    for truth in maps:
        for label in range(CLASSES):
            said = (prediction == label) & (truth < CLASSES)
            common[label] += (said & (truth == label)).sum()
            either[label] += (said | (truth == label)).sum()
    there = either > 0
    return 100 * float((common[there] / either[there]).mean())


def main(argv: list[str] | None = None) -> None:
    """Read, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/camvid"))
    annotations = parser.parse_args(argv).data / "annotations"
    said = prior(label_maps(annotations / "train"))
    print(f"mIoU: {mean_iou(said, label_maps(annotations / 'test')):.1f}")


if __name__ == "__main__":
    main()
