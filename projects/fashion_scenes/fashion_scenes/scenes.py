"""Scenes of several garments, composed from the real images of Fashion-MNIST.

Pure functions: a scene follows from (seed, split, index) and the garments, so that the
first hundred of many scenes are the hundred that a smaller set would have. Only frozen
random numbers, additions and multiplications go into a pixel, no sine and no matrix
product: scenes do not depend on the processor or on the version of numpy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from lbbt_mm.datasets.small import CLASSES, IdxDataset

GARMENTS = CLASSES["fashion_mnist"]
# Scenes to validate on are made of garments that no scene to train on has seen.
SOURCE_SPLITS = {"train": "train", "val": "test"}
# RGB, one a class; told apart on any background, and next to each other.
PALETTE = (
    (230, 60, 60),
    (60, 120, 220),
    (60, 180, 75),
    (245, 150, 40),
    (150, 70, 190),
    (0, 190, 190),
    (250, 220, 60),
    (240, 90, 190),
    (160, 110, 60),
    (170, 220, 90),
)
_SIDE = 28  # pixels of an image of Fashion-MNIST
_SMALLEST = 14  # pixels; a smaller garment is a blot
_DARK = 20  # grey levels, of 255; up to here a pixel is background
_PLACES_TRIED = 20
_WHITE = 255.0
# What is enclosed by a bag's handle or a sandal's straps is seen through; in all other
# garments a dark patch is a dark print.
_SEEN_THROUGH = (GARMENTS.index("Sandal"), GARMENTS.index("Bag"))


@dataclass(frozen=True)
class Recipe:
    """What scenes look like.

    Args:
        seed: 0 to 2**32 - 1; another seed, other scenes.
        canvas: Height and width of a scene, in pixels.
        max_garments: A scene has 1 to so many garments, each number as likely; a
            garment that finds no place is left out.
        scale: Smallest and largest side of a garment's image, in shares of the canvas.
        min_visible: Share of a garment, 0 to 1, that neither other garments nor the
            edge of the scene may hide.
        empty: Share of scenes, 0 to 1, without any garment.
        plain: Garments are as grey as in Fashion-MNIST, the ground is black.

    Raises:
        ValueError: A value is out of its range, or garments would be too small.
    """

    seed: int = 0
    canvas: int = 128
    max_garments: int = 6
    scale: tuple[float, float] = (0.25, 0.6)
    min_visible: float = 0.3
    empty: float = 0.02
    plain: bool = False

    def __post_init__(self) -> None:
        low, high = self.scale
        for good, expected, got in (
            (0 <= self.seed < 2**32, "a seed from 0 to 2**32 - 1", self.seed),
            (self.max_garments >= 1, "max_garments of 1 or more", self.max_garments),
            (0 < low <= high <= 1, "a scale of 0 < LOW <= HIGH <= 1", self.scale),
            (0 < self.min_visible <= 1, "0 < min_visible <= 1", self.min_visible),
            (0 <= self.empty <= 1, "a share of empty scenes, 0 to 1", self.empty),
        ):
            if not good:
                raise ValueError(f"Fashion scenes: expected {expected}, got {got}.")
        if self.canvas * low < _SMALLEST:
            raise ValueError(
                f"Fashion scenes: expected a canvas of {-(-_SMALLEST // low):.0f} "
                f"pixels or more, so that the smallest garments, {low:g} of it, have "
                f"{_SMALLEST}; got {self.canvas}. Enlarge the canvas or the scale."
            )


class Garments(NamedTuple):
    """Images to compose scenes from."""

    images: np.ndarray  # (n, 28, 28), uint8, bright on black
    labels: np.ndarray  # (n,), int64, 0 to 9


class PlacedGarment(NamedTuple):
    """A garment in a scene: what is visible of it."""

    label: int  # of GARMENTS
    source: int  # index of its image in the split that it comes from
    box: tuple[int, int, int, int]  # x, y, width, height in pixels
    mask: np.ndarray  # (canvas, canvas), bool
    visible_share: float  # of its whole mask, 0 to 1


class Scene(NamedTuple):
    """An image, and what is in it from back to front."""

    image: np.ndarray  # (canvas, canvas, 3), uint8, RGB
    garments: list[PlacedGarment]

    def label_map(self) -> np.ndarray:
        """(canvas, canvas), uint8: 0 for the background, label + 1 for a garment."""
        labels = np.zeros(self.image.shape[:2], np.uint8)
        for garment in self.garments:
            labels[garment.mask] = garment.label + 1
        return labels


def load_garments(folder: str | os.PathLike, split: str) -> Garments:
    """Read the images that the scenes of a split are made of.

    Args:
        folder: Fashion-MNIST's four idx files, gzipped or not.
        split: ``'train'`` or ``'val'``, of the scenes; the latter are made of the test
            images.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is not what its name says, or has no garments in it.
    """
    try:
        infos = IdxDataset(
            os.fspath(folder),
            SOURCE_SPLITS[split],
            classes="fashion_mnist",
            lazy_init=True,
        ).load_data_list()
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Fashion scenes: expected the four idx files of Fashion-MNIST in {folder} "
            "(train-images-idx3-ubyte.gz and so on, .gz or not), got not all of them. "
            "python tools/prepare_data.py fashion-mnist fetches them; the Debian "
            "package dataset-fashion-mnist has them too."
        ) from error
    images = np.stack([info["img"][..., 0] for info in infos])
    labels = np.array([info["gt_label"] for info in infos])
    if images.shape[1:] != (_SIDE, _SIDE):
        raise ValueError(
            f"Fashion scenes: expected images of {_SIDE}x{_SIDE} pixels in {folder}, "
            f"got {images.shape[1]}x{images.shape[2]}; check which files these are."
        )
    black = np.flatnonzero(images.max(axis=(1, 2)) <= _DARK)
    if len(black):
        raise ValueError(
            f"Fashion scenes: expected bright garments on black in {folder}, got no "
            f"pixel above {_DARK} of 255 in image {black[0]} of the "
            f"{SOURCE_SPLITS[split]} split; check which files these are."
        )
    return Garments(images, labels)


def compose_scene(garments: Garments, recipe: Recipe, split: str, index: int) -> Scene:
    """Compose one scene.

    Garments are laid one over the other. Where a new one would leave too little to see
    of itself or of an earlier one, it is moved and resized; after some attempts it is
    left out, so that everything that can be seen is annotated.

    Args:
        garments: Where the garments come from.
        recipe: What the scene looks like.
        split: ``'train'`` or ``'val'``: scenes of the same index differ.
        index: Number of the scene, from 0.

    Returns:
        The scene, a pure function of the arguments.
    """
    words = [recipe.seed, list(SOURCE_SPLITS).index(split), index]
    # RandomState: numpy has frozen its numbers for good.
    rng = np.random.RandomState(np.array(words, np.uint32))
    size = recipe.canvas
    # Drawn in any case: plain or not, scenes of one seed have the same garments.
    image = _background(rng, size) * (not recipe.plain)
    owner = np.full((size, size), -1)  # which garment is on top, -1: none
    placed: list[tuple[int, int]] = []  # its image, and the pixels of its whole mask
    empty = rng.uniform() < recipe.empty
    count = rng.randint(1, recipe.max_garments + 1)
    for _ in range(0 if empty else count):
        source = rng.randint(len(garments.images))
        grey, label = garments.images[source], garments.labels[source]
        mask = garment_mask(grey, see_through=label in _SEEN_THROUGH)
        if rng.randint(2):
            grey, mask = grey[:, ::-1], mask[:, ::-1]
        colour = _colour(rng)
        if recipe.plain:
            colour = _WHITE
        for _ in range(_PLACES_TRIED):
            side, x, y = _place(rng, recipe)
            alpha = _resized(mask * np.uint8(255), side, Image.BILINEAR) / 255
            alpha = np.clip(2 * alpha - 0.5, 0, 1)  # a crisper edge, the same outline
            solid = alpha >= 0.5
            window = _window(x, y, side, size)
            if not _fits(owner, window, solid, placed, recipe.min_visible):
                continue
            (there, here), whole = window, int(solid.sum())
            shade = 0.3 + 0.7 * _resized(grey, side, Image.BICUBIC) / 255
            over = alpha[here][..., None]
            paint = shade[here][..., None] * colour
            image[there] = over * paint + (1 - over) * image[there]
            owner[there][solid[here]] = len(placed)
            placed.append((source, whole))
            break
    image = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    return Scene(image, _annotate(owner, placed, garments.labels))


def garment_mask(grey: np.ndarray, see_through: bool) -> np.ndarray:
    """Tell a garment from the black around it.

    Args:
        grey: (28, 28), uint8.
        see_through: Whether dark patches within the garment are background, too.

    Returns:
        (28, 28), bool.
    """
    bright = grey > _DARK
    if see_through:
        return bright
    # Flood the dark pixels from a frame around the image; the rest is garment.
    dark = np.pad(~bright, 1, constant_values=True)
    outside = np.zeros_like(dark)
    outside[[0, -1]] = outside[:, [0, -1]] = True
    reached = 0
    while reached < (reached := np.count_nonzero(outside)):
        for there, here in ((slice(1, None), slice(-1)), (slice(-1), slice(1, None))):
            outside[there] |= outside[here]
            outside[:, there] |= outside[:, here]
            outside &= dark
    return ~outside[1:-1, 1:-1]


def _place(rng: np.random.RandomState, recipe: Recipe) -> tuple[int, int, int]:
    """Side and upper left corner of a garment's image; a quarter may be cut off."""
    low, high = (round(share * recipe.canvas) for share in recipe.scale)
    side = rng.randint(low, high + 1)
    x, y = rng.randint(-(side // 4), recipe.canvas - side + side // 4 + 1, 2)
    return side, int(x), int(y)


def _window(x: int, y: int, side: int, size: int) -> tuple[tuple, tuple]:
    """Slices of the part that lies on the canvas: on the canvas, on the garment."""
    there = tuple(slice(max(s, 0), min(s + side, size)) for s in (y, x))
    here = tuple(
        slice(t.start - s, t.stop - s) for t, s in zip(there, (y, x), strict=True)
    )
    return there, here


def _fits(
    owner: np.ndarray,
    window: tuple[tuple, tuple],
    solid: np.ndarray,
    placed: list[tuple[int, int]],
    min_visible: float,
) -> bool:
    """Whether enough is to be seen of a new garment and of all that lie there."""
    there, here = window
    if not 0 < min_visible * solid.sum() <= solid[here].sum():
        return False
    after = owner.copy()
    after[there][solid[here]] = -1
    visible = np.bincount(after.ravel() + 1, minlength=len(placed) + 1)[1:]
    return all(
        seen >= min_visible * whole
        for seen, (_, whole) in zip(visible, placed, strict=True)
    )


def _annotate(
    owner: np.ndarray, placed: list[tuple[int, int]], labels: np.ndarray
) -> list[PlacedGarment]:
    found = []
    for number, (source, whole) in enumerate(placed):
        mask = owner == number
        rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
        x, y = int(columns[0]), int(rows[0])
        box = (x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y)
        share = np.count_nonzero(mask) / whole
        found.append(PlacedGarment(int(labels[source]), source, box, mask, share))
    return found


def _colour(rng: np.random.RandomState) -> np.ndarray:
    """A colour that says nothing about the class, (3,), bright in one channel."""
    colour = rng.uniform(20, 255, 3)
    return colour * (rng.uniform(150, 255) / colour.max())


def _resized(grey: np.ndarray, side: int, how: int) -> np.ndarray:
    """Resize (H, W), uint8, in Pillow's integers, which are the same everywhere."""
    image = Image.fromarray(np.ascontiguousarray(grey))
    return np.asarray(image.resize((side, side), how))


def _background(rng: np.random.RandomState, size: int) -> np.ndarray:
    """A gradient with smooth noise, and on most stripes or checks; (size, size, 3)."""
    y, x = np.mgrid[:size, :size] / size
    slope = np.abs(rng.uniform(-1, 1, 2))
    ramp = (slope[0] * x + slope[1] * y) / slope.sum()
    first, second = rng.uniform(30, 225, (2, 3))
    image = first + ramp[..., None] * (second - first)
    for cells in (4, 14):
        noise = rng.randint(0, 256, (cells, cells)).astype(np.uint8)
        noise = _resized(noise, size, Image.BICUBIC) / 255 - 0.5
        image += noise[..., None] * rng.uniform(10, 70, 3)
    # Triangular waves along two directions, 3 to 14 of them across the scene.
    waves = []
    for kx, ky in rng.uniform(-1, 1, (2, 2)) * rng.uniform(3, 14):
        phase = kx * x + ky * y
        waves.append(np.abs(2 * (phase - np.floor(phase)) - 1) - 0.5)
    strength = rng.uniform(-60, 60, 3)
    pattern = (0 * x, waves[0], 4 * waves[0] * waves[1])[rng.randint(3)]
    return image + pattern[..., None] * strength
