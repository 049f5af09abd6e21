"""Several views of each image as one batch of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.dataset import default_collate

from lbbt_mm.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_views(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Collate what mmpretrain's ``MultiView`` and ``PackInputs`` make of images.

    Any data preprocessor and any backbone then take the views for images. Of B images
    in V views, the batch is all first views, then all second views, and so on.

    Args:
        items: B dicts of ``inputs``, V tensors (C, H, W) or one, and ``data_samples``.

    Returns:
        ``inputs`` (V * B, C, H, W), and ``data_samples``, B of them: one an image.

    Raises:
        ValueError: The images have different numbers of views.

    Example::

        train_dataloader = dict(collate_fn=dict(type="lbbt_mm.collate_views"))
    """
    inputs = [item["inputs"] for item in items]
    views = [list(i) if isinstance(i, (list, tuple)) else [i] for i in inputs]
    counts = sorted({len(view) for view in views})
    if len(counts) > 1:
        raise ValueError(
            "collate_views: expected the same number of views of each image, got "
            f"{counts}; use one MultiView with one num_views."
        )
    batch = default_collate([dict(item, inputs=[]) for item in items])
    batch["inputs"] = torch.stack([v for one in zip(*views, strict=True) for v in one])
    return batch
