"""transformers, checked with 4.45 and with 4.57."""

from __future__ import annotations

import importlib
from typing import Any

_UNPAD = "transformers.models.llava_next.modeling_llava_next"
PRIVATE = {
    "transformers.image_processing_utils:select_best_resolution": (
        "datasets/image_tiles.py"
    ),
    f"{_UNPAD}:get_anyres_image_grid_shape": "models/multimodal/tiles.py",
    f"{_UNPAD}:unpad_image": "models/multimodal/tiles.py",
}
"""As in :mod:`lbbt_mm.neighbours.mmengine`."""


def borrow(name: str) -> Any:
    """Import one of the functions of :data:`PRIVATE`.

    Args:
        name: Of the function.

    Raises:
        ImportError: transformers is missing, or has it no more.
    """
    (path,) = (path for path in PRIVATE if path.endswith(f":{name}"))
    try:
        return getattr(importlib.import_module(path.partition(":")[0]), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Images cut into tiles need {name} of transformers 4.45 to 4.57, which "
            f'is not there ({error}); run pip install "transformers>=4.45,<5".'
        ) from error
