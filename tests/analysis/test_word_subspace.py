"""Energy in the leading directions of the words, against torch's own SVD."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.analysis.word_subspace import energy_within, word_directions

WIDTH = 12


@pytest.fixture(scope="module")
def words() -> torch.Tensor:
    """A table whose directions differ in length."""
    generator = torch.Generator().manual_seed(0)
    stretched = torch.randn(200, WIDTH, generator=generator) * torch.arange(1, 13)
    turn, _ = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=generator))
    return stretched @ turn + 1.0


def test_directions_are_the_right_singular_vectors(words) -> None:
    found = word_directions(words.split(64))
    _, _, wanted = torch.linalg.svd(words.double(), full_matrices=False)
    assert_close((found.T @ wanted.T).abs(), torch.eye(WIDTH).double())


def test_a_vector_counts_by_its_direction(words) -> None:
    directions = word_directions([words])
    first, third = directions[:, 0], directions[:, 2]
    mixed = [(5 * first)[None], torch.stack([first + third, 0 * first])]
    found = energy_within(mixed, directions)
    assert found.vectors == 2  # zero has no direction
    wanted = torch.tensor([0.75, 0.75] + [1.0] * 10).double()
    assert_close(found.curve, wanted)
    assert found.directions_for(0.5) == 1 and found.directions_for(0.9) == 3


def test_random_vectors_lie_anywhere_and_words_in_front(words) -> None:
    directions = word_directions([words])
    random = energy_within([torch.randn(20_000, WIDTH)], directions)
    even = torch.arange(1, WIDTH + 1).double() / WIDTH
    assert_close(random.curve, even, rtol=0, atol=0.02)
    curve = energy_within([words.bfloat16()], directions).curve
    assert (curve[:-1] > even[:-1] + 0.05).all()


def test_what_is_no_number_is_refused(words) -> None:
    for rows in ([], [words * float("nan")]):
        with pytest.raises(ValueError, match="Expected finite word embeddings"):
            word_directions(rows)
    directions = word_directions([words])
    for vectors in ([], [torch.zeros(3, WIDTH)], [words * float("inf")]):
        with pytest.raises(ValueError, match="Expected finite vectors"):
            energy_within(vectors, directions)
