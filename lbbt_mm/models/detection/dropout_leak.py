"""A cure for a default of mmcv that carries dropout from one model into the next.

mmcv's ``MultiheadAttention`` has the default ``dropout_layer=dict(type='Dropout',
drop_prob=0.)``, one dict for the whole process, and its argument ``dropout`` writes
into it. Who builds mmdet's DETR with ``dropout=0.1`` and then mmseg's Segmenter, in one
notebook say, gets a Segmenter with 10 % residual dropout in its attention, in the
backbone and in the head, and nothing in the Segmenter's config can prevent it.

**Importing this module is the cure**, for every attention that is built afterwards. It
changes mmcv's class in this process, so nothing in lbbt_mm imports it unasked. A config
asks for it by::

    custom_imports = dict(
        imports=["lbbt_mm.models.detection.dropout_leak"], allow_failed_imports=False
    )
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from mmcv.cnn.bricks.transformer import MultiheadAttention


def stop_dropout_leak() -> None:
    """Let every mmcv attention start from the default that mmcv's code states.

    Called when this module is imported; calling it again changes nothing. Attentions
    that exist already keep what they have.
    """
    original = MultiheadAttention.__init__
    if hasattr(original, "stops_dropout_leak"):
        return
    shared = inspect.signature(original).parameters["dropout_layer"].default

    @functools.wraps(original)
    def __init__(self: MultiheadAttention, *args: Any, **kwargs: Any) -> None:
        shared["drop_prob"] = 0.0
        original(self, *args, **kwargs)

    __init__.stops_dropout_leak = True  # type: ignore[attr-defined]
    MultiheadAttention.__init__ = __init__


stop_dropout_leak()
