"""Order and number of an image's tokens, against transformers' LLaVA-NeXT."""

from __future__ import annotations

import inspect
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close
from transformers import LlavaNextForConditionalGeneration
from transformers.models.llava_next import modeling_llava_next as reference
from transformers.models.llava_next.processing_llava_next import LlavaNextProcessor

from lbbt_mm.models.multimodal.tiles import pack_features, see

TILE, PATCH, WIDTH = 28, 7, 5
SIDE = TILE // PATCH
GRIDS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]
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


def features(size, rows=SIDE, cols=SIDE) -> torch.Tensor:
    high, wide = reference.get_anyres_image_grid_shape(size, GRIDS, TILE)
    generator = torch.Generator().manual_seed(size[0])
    return torch.randn(1 + high * wide, rows, cols, WIDTH, generator=generator)


def reference_pack(tiles: torch.Tensor, size, newline) -> torch.Tensor:
    # The method reads nothing of the model but these settings.
    vision = SimpleNamespace(image_size=TILE, patch_size=PATCH)
    config = SimpleNamespace(vision_config=vision, image_grid_pinpoints=GRIDS)
    owner = getattr(reference, "LlavaNextModel", LlavaNextForConditionalGeneration)
    arguments = dict(image_newline=newline, vision_feature_select_strategy="default")
    known = inspect.signature(owner.pack_image_features).parameters
    arguments = {name: arguments[name] for name in arguments if name in known}
    packed, lengths = owner.pack_image_features(
        SimpleNamespace(config=config),
        [tiles.flatten(1, 2)],
        torch.tensor([size]),
        **arguments,
    )
    # A list of one tensor, which transformers 4.45 has put together already.
    packed = packed if isinstance(packed, torch.Tensor) else packed[0]
    assert lengths.tolist() == [len(packed)]
    return packed


def reference_count(size) -> int:
    processor = SimpleNamespace(
        image_processor=SimpleNamespace(image_grid_pinpoints=GRIDS),
        patch_size=PATCH,
        num_additional_image_tokens=0,
    )
    processor._get_unpadded_features = lambda *sizes: (
        LlavaNextProcessor._get_unpadded_features(processor, *sizes)
    )
    count = LlavaNextProcessor._get_number_of_features(processor, *size, TILE, TILE)
    # transformers 4.45 always counts a class token, which its caller then takes off.
    known = inspect.signature(LlavaNextProcessor.__init__).parameters
    return count - ("num_additional_image_tokens" not in known)


@ratios
@pytest.mark.parametrize("newline", [True, False])
def test_equals_llava_next(size, newline) -> None:
    tiles = features(size)
    end = torch.full((WIDTH,), 9.0) if newline else None
    ours = pack_features(tiles, size, GRIDS, TILE, end)
    assert_close(ours, reference_pack(tiles, size, end), rtol=0, atol=0)
    if newline:
        assert len(ours) == reference_count(size)


def test_the_sizes_use_every_grid_and_lose_padding() -> None:
    shapes = [reference.get_anyres_image_grid_shape(s, GRIDS, TILE) for s in SIZES]
    assert {tuple(shape) for shape in shapes} == {
        (1, 2),
        (2, 1),
        (2, 2),
        (3, 1),
        (1, 3),
    }
    without = [SIDE**2 * (1 + h * w) for h, w in shapes]
    counts = [len(pack_features(features(s), s, GRIDS, TILE)) for s in SIZES]
    assert any(few < all_ for few, all_ in zip(counts, without, strict=True))


def test_a_hand_worked_image() -> None:
    # 14 x 56 pixels on the grid 28 x 56 of two tiles, each 2 x 2 tokens: a map of 2 x 4
    # tokens, of which an image four times as wide as high fills 2 * 28 / 56 = 1 row.
    # Its padding of (2 - 1) // 2 = 0 rows stays, as in transformers.
    tiles = torch.arange(12.0).reshape(3, 2, 2, 1)
    end = torch.tensor([-1.0])
    packed = pack_features(tiles, (14, 56), [(28, 56)], 28, end)
    expected = [0, 1, 2, 3, 4, 5, 8, 9, -1, 6, 7, 10, 11, -1]
    assert packed[:, 0].tolist() == expected


def test_tiles_may_be_wider_than_high() -> None:
    tiles = torch.randn(3, 2, 3, WIDTH)
    packed = pack_features(tiles, (28, 56), [(28, 56)], 28, torch.zeros(WIDTH))
    assert len(packed) == 6 + 2 * (6 + 1)
    assert_close(packed[6:9], tiles[1, 0])
    assert_close(packed[9:12], tiles[2, 0])
    # Half as high: 28 pixels of 56 are left of 4 rows of tokens, of any width.
    packed = pack_features(torch.randn(5, 2, 3, WIDTH), (14, 28), [(56, 56)], 28)
    assert len(packed) == 6 + 2 * 6


def test_one_tile_stays_as_it_is() -> None:
    tile = torch.randn(1, 4, 4, WIDTH)
    packed = pack_features(tile, (5, 900), None, TILE, torch.ones(WIDTH))
    assert_close(packed, tile[0].flatten(0, 1))


def test_gradients_reach_tiles_and_newline() -> None:
    tiles = torch.randn(3, 2, 2, WIDTH, requires_grad=True)
    end = torch.zeros(WIDTH, requires_grad=True)
    pack_features(tiles, (28, 56), [(28, 56)], 28, end).sum().backward()
    assert_close(tiles.grad, torch.ones_like(tiles))
    assert_close(end.grad, torch.full((WIDTH,), 2.0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (((2, 2, 2, 1), (9, 9), None, 28), "expected one tile .*got 2"),
        (((2, 2, 2, 1), (28, 56), GRIDS, 28), r"1 \+ 1 \* 2 tiles .*got 2"),
        (((3, 2, 2, 1), (0, 56), GRIDS, 28), "got 0 x 56"),
        (((3, 2, 2, 1), (28, 56), [(30, 56)], 28), "multiples .*got 30 x 56"),
        (((4, 4, 4, 1), (1, 900), [(28, 84)], 28), "a row of tokens is left"),
    ],
)
def test_errors(arguments, words) -> None:
    shape, *others = arguments
    with pytest.raises(ValueError, match=words):
        pack_features(torch.zeros(shape), *others)


def test_other_transformers_is_said_in_one_sentence(monkeypatch) -> None:
    monkeypatch.delattr(reference, "unpad_image")
    with pytest.raises(ImportError, match="unpad_image of transformers 4"):
        pack_features(torch.zeros(3, 2, 2, 1), (28, 56), GRIDS, 28)


def test_what_an_encoder_sees_lies_in_one_piece() -> None:
    """A transposed input would cost a projector twenty times its time on a CPU."""
    encoder = torch.nn.Conv2d(3, 8, 4, stride=4)
    seen = see(encoder, torch.randn(2, 3, 8, 12))
    assert seen.shape == (2, 2, 3, 8) and seen.is_contiguous()
