"""Adapting a trained classifier to test images, without their labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import Tensor, nn

from lbbt_mm.models.norms import is_norm
from lbbt_mm.registry import MODELS

_INSIDE = "classifier."


@MODELS.register_module()
class EntropyMinimisation(BaseModel):
    """A classifier that becomes surer of each test batch before it answers (Tent).

    For each batch, the scales and shifts of the norms take ``steps`` steps of Adam that
    lower the mean entropy of the predictions (Wang et al. 2021, "Tent"); then the batch
    is predicted. No label is read and nothing else changes. For testing only, around a
    classifier of any config. The checkpoint is the classifier's own. What differs from
    the paper: norms of transformers have no statistics of a batch to exchange, so those
    of batch norms stay what training left; and the prediction comes after the last
    step, at the price of one more forward pass.

    Unless ``episodic``, a batch starts from where the one before left the norms, so
    results depend on the order and the size of batches, and each process of several
    adapts by itself.

    Args:
        classifier: Config of a classifier like mmpretrain's: its mode ``'tensor'``
            returns scores (B, classes), and ``'predict'`` data samples.
        steps: Steps for each batch.
        lr: Learning rate of Adam.
        episodic: Start each batch from the checkpoint's weights again.
        data_preprocessor: The config's; a runner fills it in.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: ``steps`` or ``lr`` is out of range, or the classifier has no norm
            with a scale.

    Example:
        >>> model = dict(_delete_=True, type="lbbt_mm.EntropyMinimisation",
        ...              classifier=_base_.model)
    """

    def __init__(
        self,
        classifier: Mapping[str, Any],
        steps: int = 1,
        lr: float = 1e-3,
        episodic: bool = False,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ValueError(
                f"EntropyMinimisation expects steps of 1 or more, got {steps!r}; "
                "without any, test the classifier itself."
            )
        if not 0 < lr < float("inf"):
            raise ValueError(
                f"EntropyMinimisation expects a positive lr, got {lr!r}: it is Adam's."
            )
        inner = dict(classifier)
        # One preprocessor, in ours: the images arrive in the classifier preprocessed.
        inner_preprocessor = inner.pop("data_preprocessor", None)
        chosen = data_preprocessor or inner_preprocessor
        kind = "mmpretrain.ClsDataPreprocessor"
        chosen = {"type": kind, **chosen} if isinstance(chosen, Mapping) else chosen
        super().__init__(data_preprocessor=chosen, init_cfg=init_cfg)
        self.classifier = MMENGINE_MODELS.build(inner)
        self.steps = steps
        self.lr = lr
        self.episodic = episodic
        self.adapted = _norm_parameters(self.classifier)
        self._start: list[Tensor] = []
        self._optimizer: torch.optim.Optimizer | None = None
        self._register_load_state_dict_pre_hook(_put_inside)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[Any] | None = None,
        mode: str = "tensor",
    ) -> Any:
        """Adapt and answer.

        Args:
            inputs: Images (B, C, H, W), preprocessed.
            data_samples: For ``mode='predict'``; only written to.
            mode: ``'predict'``, or ``'tensor'`` for the scores.

        Returns:
            The data samples with predictions, or scores (B, classes).

        Raises:
            RuntimeError: Any other mode: there is nothing to train.
        """
        if mode not in ("predict", "tensor"):
            raise RuntimeError(
                f"EntropyMinimisation is for testing only, got mode={mode!r}: train "
                "the classifier itself, and test it with this config."
            )
        self.adapt(inputs)
        with torch.no_grad():
            return self.classifier(inputs, data_samples, mode=mode)

    def adapt(self, inputs: Tensor) -> list[float]:
        """Change the norms so that predictions become surer.

        Args:
            inputs: Images (B, C, H, W), preprocessed.

        Returns:
            Mean entropy of the predictions in nats before each step.

        Raises:
            ValueError: A score is NaN.
        """
        self.classifier.eval()  # no dropout: it would be noise in the entropy
        optimizer = self._ready()
        entropies = []
        with torch.inference_mode(False), torch.enable_grad():
            for parameter in self.adapted:  # frozen ones too; eval() freezes them again
                parameter.requires_grad_(True)
            # A frozen prefix of a backbone makes a graph only for images that want one.
            images = inputs.detach().clone().requires_grad_(True)
            for _ in range(self.steps):
                entropy = mean_entropy(self.classifier(images, mode="tensor"))
                if not entropy.isfinite():
                    raise ValueError(
                        "EntropyMinimisation expects scores that are numbers, got NaN "
                        f"or infinity in a batch of {len(inputs)} images, which every "
                        "later batch would inherit: look at the checkpoint and at "
                        "autocast."
                    )
                slopes = torch.autograd.grad(entropy, self.adapted, allow_unused=True)
                for parameter, slope in zip(self.adapted, slopes, strict=True):
                    parameter.grad = slope
                optimizer.step()
                optimizer.zero_grad()
                entropies.append(float(entropy.detach()))
        return entropies

    def reset(self) -> None:
        """Put the norms back to where they were before the first batch."""
        with torch.no_grad():
            for parameter, start in zip(self.adapted, self._start, strict=False):
                parameter.copy_(start)
        self._optimizer = None

    def _ready(self) -> torch.optim.Optimizer:
        """The optimiser of this batch; at the first one, take note of the start."""
        if not self._start:
            self._start = [parameter.detach().clone() for parameter in self.adapted]
        elif self.episodic:
            self.reset()
        if self._optimizer is None:
            self._optimizer = torch.optim.Adam(self.adapted, lr=self.lr)
        return self._optimizer


def mean_entropy(scores: Tensor) -> Tensor:
    """Compute the entropy of softmax predictions.

    Args:
        scores: (B, classes), before the softmax.

    Returns:
        The mean over the batch, in nats.
    """
    logs = scores.float().log_softmax(dim=1)
    return -(logs.exp() * logs).sum(dim=1).mean()


def _norm_parameters(model: nn.Module) -> list[nn.Parameter]:
    found = [
        parameter
        for module in model.modules()
        if is_norm(module)
        for parameter in module.parameters(recurse=False)
    ]
    if not found:
        raise ValueError(
            "EntropyMinimisation expects a classifier with norms that have scales "
            f"(LayerNorm, RMSNorm, GroupNorm, BatchNorm), got {type(model).__name__} "
            "without any."
        )
    return found


def _put_inside(state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
    """Let a checkpoint of the classifier itself load into ``classifier``."""
    names = [name for name in state_dict if name.startswith(prefix)]
    if any(name.startswith(prefix + _INSIDE) for name in names):
        return
    for name in names:
        if not name.startswith(f"{prefix}data_preprocessor."):
            inside = prefix + _INSIDE + name[len(prefix) :]
            state_dict[inside] = state_dict.pop(name)
