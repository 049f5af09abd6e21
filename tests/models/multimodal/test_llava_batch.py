"""Batches of embeddings, and the loss over labelled tokens."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.models.multimodal.conversation import IGNORED, Encoded
from lbbt_mm.models.multimodal.llava_batch import answer_loss, make_batch

IMAGE = 99  # beyond the table of ten words


@pytest.fixture
def table() -> nn.Embedding:
    return nn.Embedding(10, 4)


def test_images_take_the_place_of_their_tokens(table: nn.Embedding) -> None:
    one = Encoded([IMAGE, 3, IMAGE, IMAGE, 4], [IGNORED, IGNORED, IGNORED, IGNORED, 4])
    images = [torch.randn(n, 4) for n in (2, 1, 3)]
    other = Encoded([7, 8], [IGNORED, 8])
    batch = make_batch([one, other], [images, []], IMAGE, table)
    words = table.weight
    expected = torch.cat(
        [images[0], words[3:4], images[1], images[2], words[4:5]],
    )
    assert_close(batch.embeds[0], expected)
    assert_close(batch.embeds[1], torch.cat([torch.zeros(6, 4), words[7:9]]))
    assert batch.mask.tolist() == [[1] * 8, [0] * 6 + [1] * 2]
    assert batch.labels.tolist() == [[IGNORED] * 7 + [4], [IGNORED] * 7 + [8]]
    assert batch.positions.tolist() == [list(range(8)), [0] * 7 + [1]]
    assert batch.mask.dtype == batch.labels.dtype == torch.int64


def test_gradients_reach_words_and_images(table: nn.Embedding) -> None:
    image = torch.randn(2, 4, requires_grad=True)
    one = Encoded([1, IMAGE, 2], [IGNORED] * 3)
    make_batch([one], [[image]], IMAGE, table).embeds.sum().backward()
    assert_close(image.grad, torch.ones(2, 4))
    # The image token's stand-in, word 0, is no part of the batch.
    assert table.weight.grad.any(dim=1).nonzero()[:, 0].tolist() == [1, 2]


def test_images_take_the_words_dtype(table: nn.Embedding) -> None:
    batch = make_batch(
        [Encoded([IMAGE, 1], [IGNORED, 1])],
        [[torch.randn(2, 4)]],
        IMAGE,
        table.to(torch.bfloat16),
    )
    assert batch.embeds.dtype == torch.bfloat16


@pytest.mark.parametrize("images", [0, 2])
def test_images_and_tokens_have_to_match(table: nn.Embedding, images: int) -> None:
    given = [torch.randn(2, 4)] * images
    words = rf"got {images} image\(s\) and 1 token\(s\)"
    with pytest.raises(ValueError, match=words):
        make_batch([Encoded([IMAGE, 1], [IGNORED, 1])], [given], IMAGE, table)


def test_loss_and_accuracy() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    labels = torch.tensor([[IGNORED, 1, 4], [2, IGNORED, IGNORED]])
    labels[1, 0] = logits[1, 0].argmax()
    labels[0, 1] = logits[0, 1].argmin()
    labels[0, 2] = logits[0, 2].argmin()
    loss, accuracy = answer_loss(logits, labels)
    assert_close(
        loss, nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
    )
    assert accuracy == pytest.approx(1 / 3)


def test_nothing_to_learn_is_a_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 1, 5, requires_grad=True)
    loss, accuracy = answer_loss(logits, torch.full((2, 1), IGNORED))
    assert loss == accuracy == 0
    loss.backward()
    assert_close(logits.grad, torch.zeros_like(logits))


def test_half_precision_logits_give_a_float_loss() -> None:
    logits = torch.randn(1, 2, 5).to(torch.bfloat16)
    loss, _ = answer_loss(logits, torch.tensor([[1, 2]]))
    expected = nn.functional.cross_entropy(logits[0].float(), torch.tensor([1, 2]))
    assert loss.dtype == torch.float32
    assert_close(loss, expected)


def test_nan_is_no_word() -> None:
    logits = torch.full((1, 2, 5), torch.nan)
    loss, accuracy = answer_loss(logits, torch.tensor([[0, 0]]))
    assert loss.isnan() and accuracy == 0
