"""Sure predictions, also without labels: entropy as a term of a bridge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from torch import Tensor

from lbbt_mm.models.objectives.entropy_minimisation import mean_entropy
from lbbt_mm.models.objectives.objectives import LabelObjective, checked_weight
from lbbt_mm.registry import MODELS


@MODELS.register_module()
class EntropyObjective(BaseModule):
    """Lower the entropy of what another objective's head predicts.

    It has no head of its own: alone, one would become sure of one class for all images.
    Beside labels it keeps predictions away from the borders between classes (Grandvalet
    and Bengio 2004). A head with label smoothing is pulled the other way by that.

    Args:
        of: Name of a ``LabelObjective`` of the same classifier.
        images: ``'all'``, or ``'unlabelled'``: those whose label for that objective is
            negative, as ``lbbt_mm.FewTrueLabelsDataset`` writes it.
        weight: Factor of the entropy, which is in nats.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: An option is none of these, there is no such objective, or it has a
            label for every image and ``images`` is ``'unlabelled'``.

    Example:
        >>> objective = dict(name="entropy", type="lbbt_mm.EntropyObjective",
        ...                  of="random", weight=0.1)
    """

    has_head = False

    def __init__(
        self,
        of: str,
        images: str = "all",
        weight: float = 0.1,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if images not in ("all", "unlabelled"):
            raise ValueError(
                f"EntropyObjective expects images='all' or 'unlabelled', got "
                f"{images!r}."
            )
        self.of, self.images = of, images
        self.weight = checked_weight("EntropyObjective", weight)
        # In a tuple, so that its head is not a second time in the state dict.
        self._bound: tuple[LabelObjective, ...] = ()

    def bind(self, model: Any) -> None:
        """Find the objective whose predictions are meant.

        Args:
            model: The ``BridgeClassifier``.

        Raises:
            ValueError: It has none of that name, or none to which this applies.
        """
        labelled = {
            name: one
            for name, one in model.objectives.items()
            if isinstance(one, LabelObjective)
        }
        if self.of not in labelled:
            raise ValueError(
                f"EntropyObjective expects of to name a LabelObjective, one of "
                f"{list(labelled)}, got {self.of!r}."
            )
        found = labelled[self.of]
        if self.images == "unlabelled" and found.label == "gt_label":
            raise ValueError(
                f"EntropyObjective expects an objective that leaves images out for "
                f"images='unlabelled', and {self.of!r} has a label for each: name one "
                "of few labels (label='few_label'), or set images='all'."
            )
        self._bound = (found,)

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[Any], views: int
    ) -> dict[str, Tensor]:
        """Compute the mean entropy over all views.

        Args:
            feats: Per stage (views * B, ...), all first views before all second ones.
            data_samples: B of them.
            views: How many views there are of each image.

        Returns:
            ``loss``, weighted; 0 if there is no image for it in the batch.
        """
        (objective,) = self._bound
        scores = objective.head(feats)
        if self.images == "unlabelled":
            labels = [objective.label_of(sample) for sample in data_samples] * views
            rows = [row for row, label in enumerate(labels) if label < 0]
            if not rows:
                return dict(loss=scores.sum() * 0.0)
            scores = scores[torch.tensor(rows, device=scores.device)]
        return dict(loss=mean_entropy(scores) * self.weight)
