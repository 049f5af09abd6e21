"""Fashion scenes on disk, as COCO and as ADE20K have theirs, around the same images.

``projects/fashion_scenes/README.md`` shows the layout.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from fashion_scenes.contact_sheet import contact_sheet
from fashion_scenes.scenes import (
    GARMENTS,
    PALETTE,
    SOURCE_SPLITS,
    Garments,
    Recipe,
    Scene,
    compose_scene,
)
from lbbt_mm.report.sheets import AnnotatedImage
from lbbt_mm.version import __version__

FOLDERS = {"train": "training", "val": "validation"}  # ADE20K's names
_MOST = 10**6  # scenes of a split: a file name has six digits
_EXAMPLES = 6  # scenes on the contact sheet


@dataclass(frozen=True)
class Sizes:
    """How many scenes are made.

    Args:
        train: Scenes to train on.
        val: Scenes to validate on.
        tiny_train: The first so many of ``train`` are listed apart, for trying out.
        tiny_val: The same of ``val``.

    Raises:
        ValueError: A number is out of its range.
    """

    train: int = 4000
    val: int = 500
    tiny_train: int = 64
    tiny_val: int = 32

    def __post_init__(self) -> None:
        for split in SOURCE_SPLITS:
            count, tiny = getattr(self, split), getattr(self, f"tiny_{split}")
            if not 1 <= count <= _MOST:
                raise ValueError(
                    f"Fashion scenes: expected 1 to {_MOST} scenes in {split}, got "
                    f"{count}."
                )
            if not 1 <= tiny <= count:
                raise ValueError(
                    f"Fashion scenes: expected 1 to {count} scenes in tiny_{split}, "
                    f"which are the first of {split}, got {tiny}."
                )


def run_lengths(mask: np.ndarray) -> list[int]:
    """COCO's uncompressed run-length code.

    Args:
        mask: (H, W), bool.

    Returns:
        Lengths of the runs down the columns, zeros and ones by turns, zeros first.
    """
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate(([0], changes, [flat.size]))).tolist()
    return [0, *runs] if flat[0] else runs


class CocoFile:
    """The annotations of a split, as COCO has them for detection and for instances."""

    def __init__(self, description: str) -> None:
        self.content: dict[str, Any] = {
            "info": {"description": description},
            "images": [],
            "annotations": [],
            "categories": [
                {"id": label + 1, "name": name, "supercategory": "garment"}
                for label, name in enumerate(GARMENTS)
            ],
        }

    def add(self, name: str, scene: Scene) -> None:
        """Append a scene.

        Args:
            name: Its file, without the folder.
            scene: The scene.
        """
        images, annotations = self.content["images"], self.content["annotations"]
        height, width = scene.image.shape[:2]
        image_id = len(images) + 1
        images.append(
            {"id": image_id, "file_name": name, "height": height, "width": width}
        )
        for garment in scene.garments:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": garment.label + 1,
                    "bbox": list(garment.box),
                    "area": int(np.count_nonzero(garment.mask)),
                    "iscrowd": 0,
                    "segmentation": {
                        "size": [height, width],
                        "counts": run_lengths(garment.mask),
                    },
                    # Ours: other readers pass over them.
                    "visible_share": round(garment.visible_share, 4),
                    "source_index": garment.source,
                }
            )

    def first(self, count: int) -> dict[str, Any]:
        """The content for the first ``count`` images."""
        return dict(
            self.content,
            images=self.content["images"][:count],
            annotations=[
                a for a in self.content["annotations"] if a["image_id"] <= count
            ],
        )

    def statistics(self, image_sum: np.ndarray, image_square: np.ndarray) -> dict:
        """Count what is in the split.

        Args:
            image_sum: (3,), the mean of all pixels of each image, summed over images.
            image_square: (3,), the same of the pixels' squares.
        """
        images, annotations = self.content["images"], self.content["annotations"]
        classes = np.bincount(
            [a["category_id"] - 1 for a in annotations], minlength=len(GARMENTS)
        )
        per_image = np.bincount(
            np.bincount([a["image_id"] - 1 for a in annotations], minlength=len(images))
        )
        shares = np.array([a["visible_share"] for a in annotations])
        known = len(shares) > 0
        covered = sum(a["area"] for a in annotations) / len(images)
        mean = image_sum / len(images)
        std = np.sqrt(np.maximum(image_square / len(images) - mean**2, 0))
        return {
            "scenes": len(images),
            "garments": len(annotations),
            "scenes_with_0_1_2_garments": per_image.tolist(),
            "garments_per_class": dict(zip(GARMENTS, classes.tolist(), strict=True)),
            "mean_visible_share": round(shares.mean(), 3) if known else None,
            "partly_hidden_share": round((shares < 1).mean(), 3) if known else None,
            "garment_pixels_share": round(
                covered / (images[0]["height"] * images[0]["width"]), 3
            ),
            "pixel_mean_rgb": mean.round(2).tolist(),
            "pixel_std_rgb": std.round(2).tolist(),
        }


def write_fashion_scenes(
    garments: Mapping[str, Garments],
    recipe: Recipe,
    sizes: Sizes,
    folder: str | os.PathLike,
    command: str = "",
    progress: Callable[[Iterable, int, str], Iterable] = lambda items, *_: items,
) -> dict[str, Any]:
    """Make a data set, whole or not at all.

    It is built in a hidden folder beside ``folder`` and renamed at the end.

    Args:
        garments: For ``'train'`` and ``'val'``, as ``load_garments`` reads them.
        recipe: What the scenes look like.
        sizes: How many there are.
        folder: Must not exist; its parents are made.
        command: What makes the same data set again, for the record.
        progress: Shows progress; gets the scenes, their number and the split.

    Returns:
        The content of ``scenes.json``, which tells how the data set was made.

    Raises:
        FileExistsError: ``folder`` exists; it stays as it is.
        OSError: A file could not be written; nothing is left.
    """
    folder = Path(folder)
    refuse_existing(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{folder.name}.part-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=folder.parent) as hidden:
        part = Path(hidden, folder.name)
        part.mkdir()
        record = {
            "made_by": f"lbbt_mm {__version__}",
            "command": command,
            "settings": {**asdict(recipe), **asdict(sizes)},
            "sha256_of_the_garments": {
                SOURCE_SPLITS[split]: digest(garments[split]) for split in FOLDERS
            },
            "statistics": {},
            # The pixels do not depend on them; how the PNG files are packed does.
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pillow": PIL.__version__,
            },
        }
        for split in FOLDERS:
            count = getattr(sizes, split)
            scenes = (
                compose_scene(garments[split], recipe, split, index)
                for index in range(count)
            )
            scenes = progress(scenes, count, split)
            tiny = getattr(sizes, f"tiny_{split}")
            record["statistics"][split] = _write_split(part, split, scenes, tiny)
        _write_json(part / "scenes.json", record, indent=2)
        refuse_existing(folder)
        os.rename(part, folder)
    return record


def refuse_existing(folder: Path) -> None:
    """Raise ``FileExistsError`` where there is anything already."""
    if os.path.lexists(folder):
        raise FileExistsError(
            f"Fashion scenes: expected a folder that does not exist yet, got {folder}, "
            "which does. Name another one, or remove it first."
        )


def digest(garments: Garments) -> str:
    """SHA-256 of all images and labels: whether two people have the same source."""
    content = hashlib.sha256(np.ascontiguousarray(garments.images).tobytes())
    content.update(garments.labels.astype(np.uint8).tobytes())
    return content.hexdigest()


def _write_split(part: Path, split: str, scenes: Iterable[Scene], tiny: int) -> dict:
    """Write images, label maps, lists and COCO files; returns the statistics."""
    coco = CocoFile(f"Fashion scenes, {split}: scenes of Fashion-MNIST's garments")
    folders = [part / kind / FOLDERS[split] for kind in ("images", "annotations")]
    for folder in folders:
        folder.mkdir(parents=True)
    sums = np.zeros((2, 3))
    examples = []
    names = []
    for index, scene in enumerate(scenes):
        names.append(f"{split}_{index:06d}")
        for folder, pixels in zip(
            folders, (scene.image, scene.label_map()), strict=True
        ):
            Image.fromarray(pixels).save(folder / f"{names[-1]}.png")
        coco.add(f"{names[-1]}.png", scene)
        pixels = scene.image.astype(np.float64)
        sums += [(pixels**power).mean(axis=(0, 1)) for power in (1, 2)]
        if scene.garments and len(examples) < _EXAMPLES:
            examples.append(_annotated(scene))
    for name, count in ((split, len(names)), (f"tiny_{split}", tiny)):
        _write_json(part / "detection" / f"{name}.json", coco.first(count))
        _write_text(
            part / "segmentation" / f"{name}.txt",
            "".join(f"{line}\n" for line in names[:count]),
        )
    if split == "train" and examples:
        sheet = contact_sheet(examples, GARMENTS, PALETTE)
        sheet.save(part / "examples.png", optimize=True)
    return coco.statistics(*sums)


def _annotated(scene: Scene) -> AnnotatedImage:
    return AnnotatedImage(
        scene.image,
        [garment.label for garment in scene.garments],
        [garment.box for garment in scene.garments],
        [garment.mask for garment in scene.garments],
    )


def _write_json(path: Path, content: Any, indent: int | None = None) -> None:
    separators = (",", ":") if indent is None else None
    _write_text(path, json.dumps(content, indent=indent, separators=separators) + "\n")


def _write_text(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
