"""A loss as a function of a model's parameters: value, gradient, Hessian products."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

# Student's t at 97.5 % for the spread of so many numbers.
_STUDENT = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}


class Estimate(NamedTuple):
    """A number, and what it was computed from.

    Attributes:
        value: The number.
        error: How far off it may be; each function says what its error is. nan where
            there is none to give.
        probes: Random vectors; 0 if nothing is random.
        iterations: Steps of Lanczos for each of them; 0 without Lanczos.
        samples: Images in the loss.
    """

    value: float
    error: float
    probes: int
    iterations: int
    samples: int


class ScalarLoss:
    """The mean of some losses, seen as a function of all trainable parameters.

    Vectors are flat, ``(P,)``: the trainable parameters one after the other in the
    order of ``model.named_parameters()``, in their dtype and on their device. Freeze
    what should not take part.

    Args:
        model: What the losses depend on. Its mode is the caller's: ``model.eval()``.
        losses: A function without arguments that returns a mean loss, or several of
            equally many images, one for each batch. They are called anew each time and
            one after the other, so that one batch is in memory at a time; they must
            return the same each time.
        samples: Number of images in all, which every result carries.

    Raises:
        ValueError: Nothing is trainable, or the loss is not one finite number, depends
            on no trainable parameter or is random.

    Example:
        >>> batches = images.split(32), labels.split(32)
        >>> losses = [partial(mean_loss, model, x, y) for x, y in zip(*batches)]
        >>> loss = ScalarLoss(model.eval(), losses, samples=len(images))
        >>> hessian_trace(loss).value, extreme_eigenvalues(loss, k=2).leading
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Callable[[], Tensor] | Sequence[Callable[[], Tensor]],
        samples: int,
    ) -> None:
        self.losses = [losses] if callable(losses) else list(losses)
        named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        if not named or not self.losses:
            raise ValueError(
                f"Expected trainable parameters and a loss, got {len(named)} and "
                f"{len(self.losses)}: call requires_grad_() on what should take part."
            )
        self.names = [name for name, _ in named]
        self.parameters = [parameter for _, parameter in named]
        self.samples = samples
        self.size = sum(parameter.numel() for parameter in self.parameters)
        first, second = self.value(), self.value()
        # Kernels on a GPU may add in another order; dropout changes far more.
        if abs(first - second) > 1e-4 * max(abs(first), 1e-12):
            raise ValueError(
                f"Expected the same loss each time, got {first:.6g} and {second:.6g}: "
                f"call model.eval(), and draw images and labels beforehand."
            )
        self.gradient()

    def value(self, finite: bool = True) -> float:
        """Compute the loss.

        Args:
            finite: Refuse nan and infinity, rather than return them.

        Raises:
            ValueError: It is not one number, or not a finite one.
        """
        with torch.no_grad():
            found = [float(self._call(one, finite)) for one in self.losses]
        return sum(found) / len(found)

    def gradient(self) -> Tensor:
        """Compute the gradient ``(P,)``.

        Raises:
            ValueError: The loss is not one finite number or has no derivative, or
                depends on no trainable parameter.
        """
        total = torch.zeros_like(self.flat())
        with torch.enable_grad():
            for one in self.losses:
                total += _joined(self._slopes(self._with_graph(one)))
        return _finite(total / len(self.losses), "gradient")

    def hessian_product(self, vector: Tensor) -> Tensor:
        """Multiply the Hessian H of the loss with a vector (Pearlmutter 1994).

        Args:
            vector: ``(P,)``.

        Returns:
            ``H v`` ``(P,)``, exact but for rounding: the gradient of ``g^T v``.

        Raises:
            ValueError: The vector has another length, or the loss is not finite or
                has no second derivative.
        """
        if vector.shape != (self.size,):
            raise ValueError(
                f"Expected a vector ({self.size},), one number for each trainable "
                f"parameter, got {tuple(vector.shape)}: see ScalarLoss.flat()."
            )
        parts = self.split(vector.to(self.parameters[0]))
        total = torch.zeros_like(self.flat())
        with torch.enable_grad(), _plain_attention():
            for one in self.losses:
                slopes = self._slopes(self._with_graph(one), create_graph=True)
                along = [
                    (slope * part).sum()
                    for slope, part in zip(slopes, parts, strict=True)
                    if slope.requires_grad
                ]
                if not along:  # the loss is linear: its Hessian is 0
                    continue
                total += _joined(self._slopes(torch.stack(along).sum()))
        return _finite(total / len(self.losses), "product with the Hessian")

    def without(self, group: int, groups: int) -> ScalarLoss:
        """Leave out a part of the images: every ``groups``-th loss from ``group`` on.

        Args:
            group: Which part, from 0.
            groups: Number of parts, at most as many as there are losses.
        """
        rest = copy.copy(self)
        rest.losses = [one for i, one in enumerate(self.losses) if i % groups != group]
        rest.samples = self.samples * len(rest.losses) // len(self.losses)
        return rest

    def flat(self) -> Tensor:
        """Return a copy of the parameters as one vector ``(P,)``."""
        return _joined(self.parameters)

    def split(self, vector: Tensor) -> list[Tensor]:
        """Cut a vector ``(P,)`` into tensors of the parameters' shapes."""
        parts = vector.split([p.numel() for p in self.parameters])
        return [part.view_as(p) for part, p in zip(parts, self.parameters, strict=True)]

    @contextmanager
    def moved(self, step: Tensor) -> Iterator[None]:
        """Add a vector ``(P,)`` to the parameters; afterwards they are as before."""
        kept = [parameter.detach().clone() for parameter in self.parameters]
        try:
            with torch.no_grad():
                for parameter, part in zip(
                    self.parameters, self.split(step), strict=True
                ):
                    parameter.add_(part)
            yield
        finally:
            # Copied back, not subtracted: rounding would leave them changed.
            with torch.no_grad():
                for parameter, before in zip(self.parameters, kept, strict=True):
                    parameter.copy_(before)

    def _call(self, one: Callable[[], Tensor], finite: bool = True) -> Tensor:
        loss = one()
        fits = loss.numel() == 1
        if not fits or (finite and not math.isfinite(float(loss.detach()))):
            raise ValueError(
                f"Expected a loss that is one finite number, got "
                f"{loss.detach().tolist()}: average over the batch, and look for nan "
                f"in images and weights."
            )
        return loss.squeeze()

    def _slopes(self, value: Tensor, **options: Any) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            value, self.parameters, materialize_grads=True, **options
        )

    def _with_graph(self, one: Callable[[], Tensor]) -> Tensor:
        loss = self._call(one)
        if not loss.requires_grad:
            raise ValueError(
                "Expected a loss that depends on the trainable parameters, got a "
                "constant: compute it with this model, and not under no_grad()."
            )
        return loss


def image_error(
    measure: Callable[[ScalarLoss], float], loss: ScalarLoss, groups: int = 4
) -> float:
    """Tell how far other images might move a number that is measured on a loss.

    The jackknife's standard error, ``sqrt((n - 1) / n * sum((m_i - mean)^2))`` where
    m_i is the number without the i-th of n groups of batches, times what makes 95 % of
    so few (Student's t: 3.2 for four).

    Args:
        measure: What computes the number; it is called once for each group.
        loss: The loss, of several batches.
        groups: n at most, up to 8; not more than there are batches.

    Returns:
        The error in the number's unit; nan with a single batch.
    """
    groups = min(groups, len(loss.losses), 8)
    if groups < 2:
        return math.nan
    found = [measure(loss.without(group, groups)) for group in range(groups)]
    mean = sum(found) / groups
    squares = sum((one - mean) ** 2 for one in found)
    return _STUDENT[groups] * math.sqrt((groups - 1) / groups * squares)


def _joined(parts: Iterable[Tensor]) -> Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])


def _finite(vector: Tensor, name: str) -> Tensor:
    if not torch.isfinite(vector).all():
        raise ValueError(
            f"Expected a finite {name}, got nan or infinity: the loss has no "
            f"derivative here, look for a root or a norm of 0 in it."
        )
    return vector


def _plain_attention() -> AbstractContextManager:
    """Attention without fused kernels, which have no second derivative."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # before torch 2.3
        sdp_kernel = torch.backends.cuda.sdp_kernel
        return sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    return sdpa_kernel(SDPBackend.MATH)
