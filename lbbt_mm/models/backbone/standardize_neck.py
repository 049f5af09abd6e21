"""What stands between frozen features and a linear layer: one scale for all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.model import BaseModule
from torch import Tensor

from lbbt_mm.registry import MODELS


def inverse_std(mean: Tensor, var: Tensor) -> Tensor:
    """Find the factors that bring channels to unit standard deviation.

    A channel that is constant up to rounding carries nothing: it is left as it is, for
    scaling would blow the rounding up to unit size.

    Args:
        mean: (C,).
        var: (C,).

    Returns:
        1 / standard deviation, (C,); 1 for constant channels.
    """
    std = var.sqrt()
    return torch.where(std <= 1e-6 * mean.abs(), 1.0, std).reciprocal()


@MODELS.register_module()
class StandardizeNeck(BaseModule):
    """Shift and scale each channel by its statistics over the training images.

    A few channels of a language model are enormous and would otherwise decide how long
    the others need to be heard. mmpretrain's ``ClsBatchNormNeck`` trains with the
    statistics of each *batch*, which are noisy, and tests with others; this one uses
    the mean and variance over all images that it was trained on so far, in training
    too. Behind a frozen backbone without augmentation those are, from the end of the
    first epoch on, the statistics of the training set: what
    :func:`lbbt_mm.probe.linear_probe.linear_probe` standardises by. There is
    nothing to train. All processes have the same statistics.

    Args:
        input_features: Channels.
        init_cfg: mmengine's initialisation.

    Example:
        >>> neck = dict(type="lbbt_mm.StandardizeNeck", input_features=1024)
    """

    mean: Tensor
    var: Tensor

    def __init__(
        self, input_features: int, init_cfg: dict[str, Any] | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.register_buffer("mean", torch.zeros(input_features))
        self.register_buffer("var", torch.ones(input_features))
        self._dtype = torch.float32  # of the output
        # Not a float: 100 epochs of ImageNet would not fit into one.
        self.register_buffer("images", torch.zeros((), dtype=torch.int64))

    def forward(self, inputs: Sequence[Tensor]) -> tuple[Tensor]:
        """Standardise the last stage.

        Args:
            inputs: Stages of a backbone; the last one is (B, C).

        Returns:
            (B, C), float32, or what the model was cast to, in a tuple as heads expect.

        Raises:
            ValueError: The last stage has another shape.
        """
        last = inputs[-1]
        if last.ndim != 2 or last.shape[1] != len(self.mean):
            raise ValueError(
                f"StandardizeNeck expects vectors (B, {len(self.mean)}), got "
                f"{tuple(last.shape)}; correct input_features, or set the backbone's "
                "out_type to 'last' or 'avg'."
            )
        wide = last.float()
        if self.training:
            self._learn(wide.detach())
        out = (wide - self.mean) * inverse_std(self.mean, self.var)
        return (out.to(self._dtype),)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any) -> StandardizeNeck:
        """Keep the statistics in float32 when the model is cast.

        The variance of a language model's largest channels is beyond float16.
        """
        kept = self.mean, self.var
        for name in ("mean", "var"):  # what is cast tells the dtype of the model
            setattr(self, name, getattr(self, name).to(self._dtype))
        super()._apply(fn, *args)
        self._dtype = self.mean.dtype
        self.mean, self.var = (
            wide.to(cast.device)
            for wide, cast in zip(kept, (self.mean, self.var), strict=True)
        )
        return self

    @torch.no_grad()
    def _learn(self, x_BC: Tensor) -> None:
        """Merge a batch, of all processes, into the statistics so far."""
        new = x_BC.new_tensor(len(x_BC))
        mean_C = x_BC.sum(0)
        all_reduce(new)
        all_reduce(mean_C)
        mean_C /= new
        var_C = ((x_BC - mean_C) ** 2).sum(0)
        all_reduce(var_C)
        var_C /= new
        share = new / (self.images + new)  # of the batch in the whole
        apart_C = mean_C - self.mean
        self.var += share * (var_C - self.var + (1 - share) * apart_C**2)
        self.mean += share * apart_C
        self.images += new.long()
