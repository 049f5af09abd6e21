"""Numbers for a training's log that stay on the device until somebody reads them.

Reading one makes the processor wait for the device, which then has nothing to do until
the next step is launched. All that is waiting is read in one copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from torch import Tensor

_MOST = 4096  # values that wait where nobody reads

Waiting = list[tuple["LateBuffer", Tensor]]


class LateBuffer(HistoryBuffer):
    """mmengine's history of one number, some of whose values are on a device yet.

    Reading it in any of mmengine's ways reads them. A copy, such as the one in a
    checkpoint, is an ordinary ``HistoryBuffer``.

    Args:
        history: What there is so far.
        waiting: Values of all buffers of one log, in order.
    """

    def __init__(self, history: HistoryBuffer, waiting: Waiting) -> None:
        self.waiting = waiting
        self._late: list[np.ndarray] = [np.empty(0), np.empty(0)]
        super().__init__(*history.data, max_length=history.max_length)

    @property
    def _log_history(self) -> np.ndarray:
        read_all(self.waiting)
        return self._late[0]

    @_log_history.setter
    def _log_history(self, values: np.ndarray) -> None:
        self._late[0] = values

    @property
    def _count_history(self) -> np.ndarray:
        read_all(self.waiting)
        return self._late[1]

    @_count_history.setter
    def _count_history(self, counts: np.ndarray) -> None:
        self._late[1] = counts

    def extend(self, values: list[float]) -> None:
        """Add what has been read, each counted once."""
        counts = [1.0] * len(values)
        for place, more in enumerate((values, counts)):
            joined = np.append(self._late[place], more)
            self._late[place] = joined[-self.max_length :]

    def __reduce__(self) -> Any:
        """Copied and pickled as mmengine's own, which needs no lbbt_mm to be read."""
        return HistoryBuffer, (*self.data, self.max_length)


def read_all(waiting: Waiting) -> None:
    """Read what is waiting: one copy from each device, of each dtype."""
    taken = waiting.copy()
    waiting.clear()  # first: extending a buffer asks for what is waiting
    kinds: dict[Any, list[int]] = {}
    for place, (_, value) in enumerate(taken):
        kinds.setdefault((value.device, value.dtype), []).append(place)
    values: dict[int, float] = {}
    for places in kinds.values():
        together = torch.stack([taken[place][1].reshape(()) for place in places])
        values.update(zip(places, together.tolist(), strict=True))
    of: dict[LateBuffer, list[float]] = {}
    for place, (buffer, _) in enumerate(taken):
        of.setdefault(buffer, []).append(values[place])
    for buffer, found in of.items():
        buffer.extend(found)


def waiting_of(hub: MessageHub) -> Waiting:
    """Give the values that wait in a log."""
    for buffer in hub.log_scalars.values():
        if isinstance(buffer, LateBuffer):
            return buffer.waiting
    return []


def update_late(hub: MessageHub, key: str, value: Any) -> None:
    """Do ``hub.update_scalar(key, value)`` without waiting for the device.

    Args:
        hub: Where the log of a run is kept.
        key: Such as ``'train/loss'``.
        value: A tensor of one element, which must not be changed in place later; or
            anything else that a log takes.
    """
    buffer = hub.log_scalars.get(key)
    if not isinstance(value, Tensor) or buffer is None:
        hub.update_scalar(key, value)  # the first one tells mmengine of the name
        return
    if not isinstance(buffer, LateBuffer):  # or has come out of a checkpoint
        buffer = LateBuffer(buffer, waiting_of(hub))
        hub.log_scalars[key] = buffer
    buffer.waiting.append((buffer, value.detach()))
    if len(buffer.waiting) >= _MOST:
        read_all(buffer.waiting)
