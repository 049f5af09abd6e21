"""Random numbers of augmentation as a function of the batch, not of who loads it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class SeededBatch:
    """Indices of one batch; going through them seeds the process that loads it.

    It is what ``[dataset[i] for i in batch]`` goes through, in the worker or, without
    workers, in the training process, whose own random state is put back afterwards.

    Args:
        indices: Of the images.
        key: Non-negative integers that the seeds are made of.
    """

    def __init__(self, indices: Sequence[Any], key: Sequence[int]) -> None:
        self.indices = list(indices)
        self.key = tuple(key)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: Any) -> Any:
        return self.indices[i]

    def __iter__(self) -> Iterator[Any]:
        if get_worker_info() is not None:
            _seed(self.key)
            yield from self.indices
            return
        before = random.getstate(), np.random.get_state(), torch.get_rng_state()
        _seed(self.key)
        try:
            yield from self.indices
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])
            torch.set_rng_state(before[2])


def _seed(key: Sequence[int]) -> None:
    words = np.random.SeedSequence(key).generate_state(8, np.uint32)
    np.random.seed(words[:4])
    random.seed(int.from_bytes(words[4:6].tobytes(), "little"))
    # Not torch.manual_seed, which reaches for the GPUs as well.
    torch.default_generator.manual_seed(
        int.from_bytes(words[6:8].tobytes(), "little") >> 1
    )


class SeededBatches:
    """A batch sampler whose batches carry seeds.

    Args:
        batches: The batch sampler of a data loader.
        seed: Of the run.
        rank: Of this process.

    Attributes:
        epoch: A part of the seeds; for loops that count epochs.
        position: Number of the next batch.
        skip: Batches that the next iteration leaves out, without loading them.
    """

    def __init__(self, batches: Any, seed: int, rank: int) -> None:
        self.batches = batches
        self.seed = seed
        self.rank = rank
        self.epoch = self.position = self.skip = 0

    def __getattr__(self, name: str) -> Any:
        if name == "batches":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.batches, name)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[SeededBatch]:
        skip, self.skip = self.skip, 0
        for number, indices in enumerate(self.batches):
            key = (self.seed, self.rank, self.epoch, self.position)
            self.position += 1
            if number >= skip:
                yield SeededBatch(indices, key)


def seed_batches(loader: DataLoader, seed: int, rank: int) -> SeededBatches | str:
    """Make the random numbers of a data loader a function of seed, rank and batch.

    Workers, their number and whether they persist then change nothing, and what the
    loader itself draws when it starts comes out of a generator of its own.

    Args:
        loader: Edited in place; a loader that was edited before is set anew.
        seed: Of the run.
        rank: Of this process.

    Returns:
        What numbers the batches; or why there is no such thing, in a few words.
    """
    if isinstance(loader.dataset, IterableDataset):
        return "the dataset has no indices (an IterableDataset)"
    if loader.batch_sampler is None:
        return "the data loader has no batches of indices (batch_size=None)"
    if callable(getattr(loader.dataset, "__getitems__", None)):
        return f"{type(loader.dataset).__name__} loads whole batches (__getitems__)"
    numbered: Any = loader.batch_sampler
    if not isinstance(numbered, SeededBatches):
        numbered = SeededBatches(numbered, seed, rank)
        # torch forbids the plain assignment, for loaders that are being read from.
        vars(loader)["batch_sampler"] = numbered
        _follow_skips(loader)
        if loader.generator is None:
            loader.generator = torch.Generator()
    numbered.seed, numbered.rank = seed, rank
    numbered.epoch = numbered.position = numbered.skip = 0
    loader.generator.manual_seed(seed)
    return numbered


def _follow_skips(loader: Any) -> None:
    """Count what mmengine's loop by iterations skips in the sampler, on a resume."""
    sampler, numbered = loader.sampler, loader.batch_sampler
    skip = getattr(sampler, "skip", None)
    if skip is None:
        return

    def counted(samples: int) -> None:
        skip(samples)
        numbered.position = samples // numbered.batch_size

    sampler.skip = counted
