"""Tiles are normalised as transformers normalises for CLIP."""

from __future__ import annotations

import pytest
import torch
from mmengine.structures import BaseDataElement
from torch.testing import assert_close

from lbbt_mm.models.multimodal.tiles import TilePreprocessor


def test_equals_transformers() -> None:
    from transformers import CLIPImageProcessor

    tiles = torch.randint(0, 256, (2, 3, 6, 6), dtype=torch.uint8)
    processor = CLIPImageProcessor(do_resize=False, do_center_crop=False)
    expected = processor(
        list(tiles.permute(0, 2, 3, 1).numpy()), return_tensors="pt"
    ).pixel_values
    found = TilePreprocessor()(dict(inputs=[tiles], data_samples=[]))["inputs"][0]
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_conversations_with_few_and_no_tiles() -> None:
    samples = [BaseDataElement(), BaseDataElement()]
    tiles = [torch.full((2, 3, 4, 4), 9, dtype=torch.uint8), torch.empty(0, 3, 4, 4)]
    given = dict(inputs=tiles, data_samples=samples)
    preprocessor = TilePreprocessor(mean=(1, 2, 3), std=(2, 2, 2))
    found = preprocessor(given, training=True)
    assert found["inputs"][0][1, :, 0, 0].tolist() == [4.0, 3.5, 3.0]
    assert found["inputs"][1].shape == (0, 3, 4, 4)
    assert len(found["data_samples"]) == 2
    assert given["inputs"][0].dtype == torch.uint8  # the loader's stay as they are
    # What a config says is no part of a checkpoint.
    assert not preprocessor.state_dict()


@pytest.mark.parametrize(
    "bad", [dict(mean=(1, 2)), dict(std=(1, 1, 0)), dict(std=(1,) * 4)]
)
def test_bad_numbers(bad: dict) -> None:
    with pytest.raises(ValueError, match="three means and three deviations above zero"):
        TilePreprocessor(**bad)
