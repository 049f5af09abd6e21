"""A few training images that stay the same, for what is measured during a run."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.runner import Runner
from torch import Tensor, nn

from lbbt_mm.hooks.random_state import random_state, set_random_state


class FixedImages(NamedTuple):
    """Some images of a training dataset, as the model gets them.

    Attributes:
        inputs: Batches ``(B, C, height, width)`` on the model's device, not larger
            than those of the training.
        labels: ``'trained'``: for each image the label that it is trained with, None
            where there is no such single label; ``'true'``: its true label, where
            that is known.
    """

    inputs: list[Tensor]
    labels: dict[str, list[int | None]]


def take_images(runner: Runner, model: Any, number: int, seed: int) -> FixedImages:
    """Prepare images as in training, always the same ones in the same way.

    Random numbers of the run are used up: call it in :func:`undisturbed`.

    Args:
        runner: Its training dataset, pipeline and collate function are used.
        model: With its ``data_preprocessor``; what that does in training only
            (Mixup and its like) is left out.
        number: Of images, spread evenly over the dataset; all if it has fewer.
        seed: Of the pipeline's random numbers.
    """
    loader = runner.train_dataloader
    dataset: Any = loader.dataset
    last = len(dataset) - 1
    indices = np.linspace(0, last, min(number, last + 1)).astype(int).tolist()
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    batch = loader.collate_fn([dataset[index] for index in indices])
    batch = model.data_preprocessor(batch, False)
    inputs = batch["inputs"]
    if isinstance(inputs, (list, tuple)):  # several views of each image
        inputs = inputs[0]
    samples = batch.get("data_samples") or []
    labels = dict(
        trained=[_label(sample, "gt_label") for sample in samples],
        true=[
            _true_label(dataset, index, sample)
            for index, sample in zip(indices, samples, strict=False)
        ],
    )
    return FixedImages(list(inputs.split(max(1, loader.batch_size or 1))), labels)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Put random numbers and the modules' modes back as they were.

    Args:
        model: Whose modes.
    """
    state = random_state()
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        # Not train(): frozen parts have modes of their own.
        for module, mode in modes:
            module.training = mode
        set_random_state(state)


def _label(sample: Any, name: str) -> int | None:
    value = sample.get(name)
    if value is None:
        return None
    value = torch.as_tensor(value)
    return int(value) if value.numel() == 1 else None


def _true_label(dataset: Any, index: int, sample: Any) -> int | None:
    """The true label, for evaluation only: packed, or as the dataset remembers it."""
    packed = _label(sample, "true_label")
    if packed is not None or not hasattr(dataset, "get_data_info"):
        return packed
    # An image may have been fetched in the place of a damaged one.
    index = sample.get("sample_idx", index)
    return _label(dataset.get_data_info(index), "true_label")
