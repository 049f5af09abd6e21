"""Words on the patches of an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lbbt_mm.report.word_patches import word_patches

WORDS = [[" bag", "ing"], [" shirt", " a"]]


def brightness(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L"), dtype=float)


def test_each_patch_has_its_own_words_in_its_own_place():
    image = Image.new("RGB", (28, 14), (60, 0, 90))
    drawn = word_patches(image, (1, 2), WORDS, [[1.0, 0.0], [1.0, 0.0]], patch=80)
    assert drawn.size == (160, 80)
    other = [WORDS[0], [" hat", " a"]]
    again = word_patches(image, (1, 2), other, [[1.0, 0.0], [1.0, 0.0]], patch=80)
    different = brightness(drawn) != brightness(again)
    assert different[:, 80:].any() and not different[:, :80].any()
    assert not different[40:].any()  # the second of three lines, and the third


def test_the_plate_is_the_bluer_the_larger_the_weight():
    image = Image.new("RGB", (20, 20), "white")

    def plate(weight: float) -> float:
        drawn = word_patches(
            image, (2, 2), [["i"]] * 4, [[1.0], [weight], [0.5], [0.0]], patch=60
        )
        return np.median(np.asarray(drawn)[4:18, 83:87, 2])  # beside the letter

    shades = [plate(weight) for weight in (-1.0, 0.0, 0.4, 0.8, 1.0)]
    assert shades[0] == shades[1] < 60
    assert shades[1] < shades[2] < shades[3] < shades[4]
    # White on it has the contrast that small letters need, on a white image, too.
    drawn = word_patches(image, (1, 1), [["i"]], [[1.0]], patch=60)
    r, g, b = np.median(np.asarray(drawn)[4:18, 24:27].reshape(-1, 3), axis=0) / 255
    assert 1.05 / (0.2126 * r**2.2 + 0.7152 * g**2.2 + 0.0722 * b**2.2 + 0.05) > 4.5


def test_no_word_leaves_its_patch():
    image = Image.new("RGB", (20, 20), "black")
    long = ["internationalisation" * 2]
    words = [[], long, [], []]
    drawn = brightness(word_patches(image, (2, 2), words, [[], [1.0], [], []]))
    side = drawn.shape[0] // 2
    assert drawn[:side, side:].max() > 200
    drawn[:side, side:] = 0
    drawn[drawn < 60] = 0  # the grid
    assert not drawn.any()


def test_the_shape_of_the_image_is_kept_and_it_never_shrinks():
    words = [["a"]] * 6
    weights = [[0.0]] * 6
    small = word_patches(Image.new("L", (30, 40)), (2, 3), words, weights, patch=50)
    assert small.size == (150, 200) and small.mode == "RGB"
    large = word_patches(Image.new("RGB", (600, 800)), (2, 3), words, weights, patch=50)
    assert large.size == (600, 800)


def test_numbers_that_do_not_fit():
    image = Image.new("RGB", (20, 20))
    with pytest.raises(ValueError, match="2 x 2 expects .* 4 patches, got 2 and 2"):
        word_patches(image, (2, 2), WORDS, [[1.0, 0.0]] * 2)
    with pytest.raises(ValueError, match="as many weights as words"):
        word_patches(image, (1, 2), WORDS, [[1.0, 0.0], [1.0]])
