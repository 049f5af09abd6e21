"""LLaVA's tiles, against the image processors of transformers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from PIL import Image
from torch.testing import assert_close
from torch.utils.data import DataLoader
from transformers import CLIPImageProcessor, LlavaNextImageProcessor

from lbbt_mm.datasets import ImageTiles, PackConversation

TILE = 28
GRIDS = [(28, 56), (56, 28), (56, 56), (84, 28), (28, 84)]
# 1:1, 4:3, 3:4, 16:9, 9:16, 2:1, 1:2, 3:1, 1:3 and an odd one; height, width.
SIZES = [
    (40, 40),
    (48, 64),
    (64, 48),
    (54, 96),
    (96, 54),
    (30, 60),
    (60, 30),
    (33, 99),
    (99, 33),
    (77, 333),
]
ratios = pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
MEAN = [0.48145466, 0.4578275, 0.40821073]
STD = [0.26862954, 0.26130258, 0.27577711]


def photo(size, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tiles(images, **options) -> dict:
    return ImageTiles(TILE, **options)(dict(images=images))


def normalised(pixels: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return (pixels / 255 - mean) / std


@ratios
def test_a_grid_equals_llava_next(size) -> None:
    image = photo(size)
    processor = LlavaNextImageProcessor(
        size={"shortest_edge": TILE},
        crop_size={"height": TILE, "width": TILE},
        image_grid_pinpoints=[list(grid) for grid in GRIDS],
    )
    expected = processor(image, return_tensors="pt")
    ours = tiles([image], grid_pinpoints=GRIDS)
    assert ours["pixels"].dtype == torch.uint8
    assert ours["tiles"] == [len(expected["pixel_values"][0])]
    assert ours["image_sizes"] == [tuple(expected["image_sizes"][0].tolist())]
    assert_close(normalised(ours["pixels"]), expected["pixel_values"][0].float())


def expand2square(image: np.ndarray) -> np.ndarray:
    # The release of LLaVA-1.5: in the middle of the mean colour, cut to integers.
    high, wide = image.shape[:2]
    side = max(high, wide)
    square = np.empty((side, side, 3), np.uint8)
    square[:] = [int(255 * value) for value in MEAN]
    top, left = (side - high) // 2, (side - wide) // 2
    square[top : top + high, left : left + wide] = image
    return square


@ratios
def test_one_tile_equals_llava(size) -> None:
    image = photo(size)
    processor = CLIPImageProcessor(
        size={"shortest_edge": TILE}, crop_size={"height": TILE, "width": TILE}
    )
    square = expand2square(np.asarray(image))
    expected = processor(square, return_tensors="pt", input_data_format="channels_last")
    ours = tiles([image])
    assert ours["tiles"] == [1]
    assert ours["image_sizes"] == [size]
    assert_close(normalised(ours["pixels"]), expected["pixel_values"].float())


def test_llava_processor_of_newer_transformers_agrees() -> None:
    import transformers

    make = getattr(transformers, "LlavaImageProcessor", None)
    if make is None:  # before it existed; the test above compares with CLIP's
        return
    square = dict(height=TILE, width=TILE)
    processor = make(do_pad=True, size=square, crop_size=square)
    image = photo((48, 64))
    expected = processor(image, return_tensors="pt")["pixel_values"]
    assert_close(normalised(tiles([image])["pixels"]), expected.float())


def test_without_padding_an_image_is_stretched() -> None:
    image = photo((20, 60))
    expected = np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC))
    ours = tiles([image], pad=False)["pixels"]
    assert_close(ours[0].permute(1, 2, 0), torch.tensor(expected))


def test_the_colour_of_the_padding() -> None:
    ours = tiles([Image.new("RGB", (28, 14))])["pixels"]
    assert ours[0, :, 0, 0].tolist() == [122, 116, 104]
    assert ours[0, :, 14, 14].tolist() == [0, 0, 0]


@pytest.mark.parametrize("grids", [None, GRIDS])
def test_several_images_follow_each_other(grids) -> None:
    images = [photo((40, 40), 1), photo((30, 90), 2)]
    both = tiles(images, grid_pinpoints=grids)
    alone = [tiles([image], grid_pinpoints=grids) for image in images]
    assert both["tiles"] == [one["tiles"][0] for one in alone]
    assert both["image_sizes"] == [(40, 40), (30, 90)]
    assert_close(both["pixels"], torch.cat([one["pixels"] for one in alone]))


@pytest.mark.parametrize("sample", [{}, {"images": []}, {"images": None}])
@pytest.mark.parametrize("grids", [None, GRIDS])
def test_no_image(sample, grids) -> None:
    ours = ImageTiles(TILE, grids)(sample)
    assert ours["pixels"].shape == (0, 3, TILE, TILE)
    assert ours["pixels"].dtype == torch.uint8
    assert ours["tiles"] == ours["image_sizes"] == []


def test_images_go() -> None:
    sample = dict(images=[photo((9, 9))], question="What?")
    assert set(ImageTiles(TILE)(sample)) == {
        "pixels",
        "tiles",
        "image_sizes",
        "question",
    }


def test_images_that_are_not_padded_say_so() -> None:
    """Tiles of either kind look alike to a model, which was trained with one."""
    stretched = ImageTiles(TILE, pad=False)(dict(images=[photo((9, 20))], turns=[]))
    packed = PackConversation()(stretched)["data_samples"]
    assert packed.stretched is True
    assert "stretched" not in ImageTiles(TILE, GRIDS)(dict(images=[photo((9, 20))]))


def test_a_config_builds_it_and_its_repr_names_the_settings() -> None:
    pipeline = Compose([dict(type="lbbt_mm.ImageTiles", size=TILE)])
    assert "ImageTiles(size=28, grid_pinpoints=None, pad=True" in repr(pipeline)
    assert pipeline(dict(images=[photo((9, 9))]))["tiles"] == [1]


class Photos(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.pipeline = ImageTiles(TILE, GRIDS)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict:
        return self.pipeline(dict(images=[photo((40, 40 + 9 * index), index)]))


@pytest.mark.parametrize("grids", [None, GRIDS])
def test_it_can_be_pickled(grids) -> None:
    transform = ImageTiles(TILE, grids)
    again = pickle.loads(pickle.dumps(transform))
    sample = dict(images=[photo((30, 90))])
    assert_close(again(sample)["pixels"], transform(sample)["pixels"])
    assert repr(again) == repr(transform)


def test_workers_make_the_same_tiles() -> None:
    found = list(DataLoader(Photos(), batch_size=None, num_workers=2))
    assert len(found) == 4
    for index, sample in enumerate(found):
        assert_close(sample["pixels"], Photos()[index]["pixels"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(size=0), "positive number of pixels, got 0"),
        (dict(size=2.5), "got 2.5"),
        (dict(size=28, grid_pinpoints=[(28, 30)]), r"multiples .*28, got \(28, 30\)"),
        (dict(size=28, grid_pinpoints=[28]), r"\(height, width\)"),
        (dict(grid_pinpoints=[]), "at least one"),
        (dict(size=28, grid_pinpoints=GRIDS, pad=False), "expected its default"),
    ],
)
def test_settings_that_make_no_sense(options, words) -> None:
    with pytest.raises(ValueError, match=words):
        ImageTiles(**options)


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (Image.new("L", (9, 9)), TypeError, "got the mode 'L' as number 0"),
        ("a.png", TypeError, "got a str"),
        (Image.new("RGB", (0, 9)), ValueError, "got 9 x 0"),
        (Image.new("RGB", (900, 2)), ValueError, "image of 2 x 900 pixels"),
    ],
)
def test_images_that_cannot_be_used(image, error, words) -> None:
    with pytest.raises(error, match=words):
        tiles([image], grid_pinpoints=GRIDS)


def test_an_odd_column_of_padding_is_the_last() -> None:
    image = Image.new("RGB", (55, 28), (255, 255, 255))
    ours = tiles([image], grid_pinpoints=[(28, 56)])["pixels"]
    assert ours.shape == (3, 3, 28, 28)
    assert ours[1].min() == 255 and ours[2, ..., :-1].min() == 255
    assert ours[2, ..., -1].max() == 0


def test_three_rows_of_pixels_are_no_channels() -> None:
    image = photo((3, 9))
    ours = tiles([image], grid_pinpoints=GRIDS)
    whole = np.asarray(image.resize((TILE, TILE), Image.Resampling.BICUBIC))
    assert_close(ours["pixels"][0].permute(1, 2, 0), torch.tensor(whole))
