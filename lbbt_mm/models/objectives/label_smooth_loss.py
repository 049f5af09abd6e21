"""mmpretrain's label smoothing, which does not wait for a GPU to look at the labels."""

from __future__ import annotations

from mmpretrain.models.losses import LabelSmoothLoss as _LabelSmoothLoss
from torch import Tensor


class LabelSmoothLoss(_LabelSmoothLoss):
    """mmpretrain's ``LabelSmoothLoss``, number for number, without its wait.

    That one reads the largest label in every step, to compare it with the number of
    classes, and a processor that reads a number waits for the GPU.
    ``lbbt_mm.CheckDataHook`` compares them before the training.

    Args:
        *args: As for mmpretrain's ``LabelSmoothLoss``.
        **kwargs: Likewise.

    Example:
        >>> loss = dict(type="lbbt_mm.LabelSmoothLoss", label_smooth_val=0.1)
    """

    def generate_one_hot_like_label(self, label: Tensor) -> Tensor:
        """Spread class indices ``(N,)`` over ``(N, num_classes)``, in float32."""
        if label.dim() == 1 or (label.dim() == 2 and label.shape[1] == 1):
            places = label.view(-1, 1).long()
            shape = len(label), self.num_classes
            # Not F.one_hot, which reads labels on a CPU. A label that is no class
            # fails here too, on a GPU as a device-side assertion.
            label = label.new_zeros(shape).scatter_(1, places, 1)
        return label.float()
