"""The last step of a pipeline for LLaVA: what the model is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.structures import BaseDataElement

from lbbt_mm.registry import TRANSFORMS

_KEPT = (
    "sample_id",
    "sample_idx",
    "img_paths",
    "turns",
    "tiles",
    "image_sizes",
    "stretched",
    "images",
    "question",
    "answers",
    "question_type",
    "choices",
)


@TRANSFORMS.register_module()
class PackConversation:
    """Sample -> ``inputs``, the tiles of its images, and ``data_samples``, the rest.

    Args:
        keys: Further keys that the data sample keeps.

    Example::

        pipeline = [dict(type="lbbt_mm.ImageTiles"),
                    dict(type="lbbt_mm.PackConversation")]
    """

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self.keys = (*_KEPT, *keys)

    def __call__(self, sample: dict[str, Any]) -> dict[str, Any]:
        """Pack a sample that ``lbbt_mm.ImageTiles`` has prepared.

        Args:
            sample: With ``pixels`` ``(tiles, 3, height, width)`` and ``turns``.

        Raises:
            KeyError: There are no ``pixels``.
        """
        if "pixels" not in sample:
            raise KeyError(
                "PackConversation expects 'pixels', got "
                f"{sorted(sample)}; put lbbt_mm.ImageTiles before it."
            )
        kept = {key: sample[key] for key in self.keys if key in sample}
        return dict(
            inputs=sample["pixels"], data_samples=BaseDataElement(metainfo=kept)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(keys={list(self.keys)})"
