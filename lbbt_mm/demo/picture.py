"""Anybody's picture, as a model is given its test images."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import DATASETS, TRANSFORMS
from PIL import Image, ImageOps

from lbbt_mm.pictures import read_upright
from lbbt_mm.probe.setup import clean_pipeline
from lbbt_mm.registry import names_of

# Data sets whose images are arrays: pixels of a side, and Pillow's mode.
_ARRAYS = {
    "CIFAR10": (32, "RGB"),
    "MNIST": (28, "L"),
    "IdxDataset": (28, "L"),
    "MNIST5k": (28, "L"),
}


def read_picture(path: str | Path, name: str = "") -> Image.Image:
    """Read a picture upright, in RGB.

    Args:
        path: Of the file.
        name: What to call it, if not by its path.

    Raises:
        ValueError: It is no picture, or is cut off, or far too large.
    """
    try:
        return read_upright(path)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        said = str(error).replace(str(path), name or str(path))
        raise ValueError(
            f"Expected a picture, got {name or path}, which cannot be read ({said}); "
            "choose another."
        ) from error


class Prepared(NamedTuple):
    """A picture that is ready for a model.

    Attributes:
        batch: What ``test_step`` takes.
        seen: The pixels of it, before they are normalised; None where the pipeline
            normalises them itself.
    """

    batch: dict[str, Any]
    seen: Image.Image | None


class TestPipeline:
    """Gives a model a picture as it is given its test images, in steps of the config.

    Images that are files are read by the config's own first step. Where a data set has
    arrays (CIFAR, MNIST), a picture becomes one: its middle, of the size and the
    colours of that data set.

    Args:
        cfg: With a data set that tests, validates or trains.

    Raises:
        ValueError: It has none, or one whose images are neither.

    Example:
        >>> prepared = TestPipeline(cfg)(Image.open("cat.jpg"))
        >>> sample = model.test_step(prepared.batch)[0]
    """

    __test__ = False  # the name is no pytest class

    def __init__(self, cfg: Any) -> None:
        self.dataset = test_dataset(cfg)
        scope = cfg.get("default_scope")
        steps = [(s, names_of(s, TRANSFORMS, scope)) for s in self._steps()]
        self._reads = any("LoadImageFromFile" in names for _, names in steps)
        self._array = (0, "RGB")
        if not self._reads:
            kinds = names_of(innermost(self.dataset), DATASETS, scope)
            known = [like for kind, like in _ARRAYS.items() if kind in kinds]
            if not known:
                raise ValueError(
                    "Expected test images that are files (LoadImageFromFile in the "
                    f"pipeline) or those of {', '.join(_ARRAYS)}, got "
                    f"{innermost(self.dataset).get('type')}: how to make a picture "
                    "like them is not known."
                )
            self._array = known[0]
        # A picture has no truth beside it.
        self._run = Compose([s for s, names in steps if "LoadAnnotations" not in names])

    def _steps(self) -> list:
        steps = clean_pipeline(self.dataset)
        if not steps:
            raise ValueError("Expected a pipeline of test images, got none.")
        return steps

    def __call__(self, image: Image.Image) -> Prepared:
        """Prepare a picture.

        Args:
            image: RGB.
        """
        sample = self._from_file(image) if self._reads else self._from_array(image)
        return Prepared(pseudo_collate([sample]), self._pixels(sample["inputs"]))

    def _from_file(self, image: Image.Image) -> dict[str, Any]:
        # Whatever the step's options are (grey, another reader): it reads it itself.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "picture.png")
            image.save(path, compress_level=1)
            return self._run(dict(img_path=str(path), img_id=0))

    def _from_array(self, image: Image.Image) -> dict[str, Any]:
        side, mode = self._array
        image = ImageOps.fit(
            image.convert(mode), (side, side), Image.Resampling.BICUBIC
        )
        pixels = np.array(image).reshape(side, side, -1)
        return self._run(
            dict(img=pixels, img_shape=(side, side), ori_shape=(side, side))
        )

    def _pixels(self, inputs: Any) -> Image.Image | None:
        if not torch.is_tensor(inputs) or inputs.dtype != torch.uint8:
            return None
        if self._reads:
            inputs = inputs.flip(0)  # mmcv reads files as BGR
        pixels = inputs.permute(1, 2, 0).numpy()
        return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def test_dataset(cfg: Any) -> Mapping[str, Any]:
    """Find the data set of a config whose images a model is tested on.

    Args:
        cfg: A config.

    Raises:
        ValueError: It has no data set at all.
    """
    for part in ("test", "val", "train"):
        loader = cfg.get(f"{part}_dataloader") or {}
        if loader.get("dataset"):
            return loader["dataset"]
    raise ValueError(
        "Expected a config with test_dataloader, whose pipeline prepares pictures, got "
        "one without any data set."
    )


def innermost(dataset: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find the data set in its wrappers.

    Args:
        dataset: Config of a data set.
    """
    while "dataset" in dataset or "datasets" in dataset:
        dataset = dataset["dataset"] if "dataset" in dataset else dataset["datasets"][0]
    return dataset
