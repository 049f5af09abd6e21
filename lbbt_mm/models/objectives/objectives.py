"""What a bridge may be trained for: each objective has its own head on one backbone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS as MMENGINE_MODELS
from torch import Tensor

from lbbt_mm.registry import MODELS


@MODELS.register_module()
class LabelObjective(BaseModule):
    """Classify images by labels that the dataset brings along.

    Random labels, instance identity, rotations and the true labels of a few images are
    all this: they differ in the dataset's wrapper and in the number of classes. An
    image whose label is negative takes no part; the loss is the mean over the others,
    and 0 if there are none in the batch.

    Args:
        head: Config of a head of mmpretrain, with its loss.
        num_classes: Put into ``head``, if given.
        label: Field of the data samples with the label. ``gt_label`` is packed by
            itself, others by ``PackInputs(algorithm_keys=[label])``.
        weight: Factor of the loss.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: ``weight`` is negative. When training: a sample has no such label,
            or it is none of the head's classes.

    Example:
        >>> objective = dict(name="turn", type="lbbt_mm.LabelObjective",
        ...                  label="rotation_label", num_classes=4)
    """

    def __init__(
        self,
        head: Mapping[str, Any],
        num_classes: int | None = None,
        label: str = "gt_label",
        weight: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if num_classes is not None:
            head = dict(head, num_classes=num_classes)
        self.head = MMENGINE_MODELS.build(head)
        self.label = label
        self.weight = checked_weight("LabelObjective", weight)

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[Any], views: int
    ) -> dict[str, Tensor]:
        """Compute the loss over all views of the labelled images.

        Args:
            feats: Per stage (views * B, ...), all first views before all second ones.
            data_samples: B of them.
            views: How many views there are of each image.

        Returns:
            ``loss``, weighted, and what else the head reports, such as its accuracy.
        """
        if self.label != "gt_label":
            feats, data_samples = self._labelled(feats, data_samples, views)
        elif views > 1:
            data_samples = data_samples * views
        if not data_samples:
            # Zero, but through the head: DDP wants a gradient for each parameter.
            return dict(loss=self.head(feats).sum() * 0.0)
        found = self.head.loss(feats, data_samples)
        return {k: v * self.weight if "loss" in k else v for k, v in found.items()}

    def _labelled(
        self, feats: Sequence[Tensor], data_samples: list[Any], views: int
    ) -> tuple[Sequence[Tensor], list[Any]]:
        """Features of the labelled images, and samples that have our label only."""
        values = [self.label_of(sample) for sample in data_samples]
        known = [i for i, value in enumerate(values) if value >= 0]
        if not known:
            return feats, []
        rows = [v * len(values) + i for v in range(views) for i in known]
        if len(known) < len(values):
            index = torch.tensor(rows, device=feats[-1].device)
            feats = tuple(stage[index] for stage in feats)
        labels = torch.tensor(
            [values[row % len(values)] for row in rows], device=feats[-1].device
        )
        kind = type(data_samples[0])
        return feats, [kind(gt_label=label) for label in labels.split(1)]

    def label_of(self, sample: Any) -> int:
        """Read the label of a data sample, negative if it has none."""
        if self.label not in sample:
            raise ValueError(
                f"LabelObjective expects {self.label!r} in each data sample, got "
                f"{sorted(sample.all_keys())}: wrap the dataset in one that writes it "
                f"(field={self.label!r}), and pack it with "
                f"PackInputs(algorithm_keys=[{self.label!r}])."
            )
        value = int(sample.get(self.label))
        classes = getattr(self.head, "num_classes", None)
        if classes is not None and value >= classes:
            raise ValueError(
                f"LabelObjective expects {self.label!r} below the head's {classes} "
                f"classes, got {value}: set num_classes to what the dataset yields."
            )
        return value


@MODELS.register_module()
class ContrastiveObjective(BaseModule):
    """Recognise the two views of an image among all of them: SimCLR's loss.

    As mmpretrain's ``SimCLR`` (Chen et al. 2020), with its neck and head: the views of
    all processes are compared. It reads no label. The dataset shows two views of each
    image: ``MultiView(num_views=2)`` in its pipeline and
    ``collate_fn=dict(type='lbbt_mm.collate_views')`` in its loader.

    Args:
        neck: Config of the projection, for example mmpretrain's ``NonLinearNeck``.
        head: Config of mmpretrain's ``ContrastiveHead``, with loss and temperature.
        weight: Factor of the loss.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: ``weight`` is negative. When training: there are not two views.

    Example:
        >>> loss = dict(type="CrossEntropyLoss")
        >>> objective = dict(name="contrastive", type="lbbt_mm.ContrastiveObjective",
        ...     neck=dict(type="NonLinearNeck", hid_channels=384, out_channels=128),
        ...     head=dict(type="ContrastiveHead", loss=loss, temperature=0.1))
    """

    def __init__(
        self,
        neck: Mapping[str, Any],
        head: Mapping[str, Any],
        weight: float = 1.0,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.neck = MMENGINE_MODELS.build(neck)
        self.head = MMENGINE_MODELS.build(head)
        self.weight = checked_weight("ContrastiveObjective", weight)

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[Any], views: int
    ) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            feats: Per stage (2 * B, ...), all first views before all second ones.
            data_samples: B of them; unused.
            views: How many views there are of each image.

        Returns:
            ``loss``, weighted.
        """
        if views != 2:
            raise ValueError(
                f"ContrastiveObjective expects two views of each image, got {views}: "
                "put dict(type='MultiView', num_views=2, transforms=[[...]]) into the "
                "pipeline, and collate_fn=dict(type='lbbt_mm.collate_views') into "
                "train_dataloader."
            )
        (projected,) = self.neck(tuple(feats[-1:]))
        # Similarities in bfloat16 would be as coarse as the differences that count.
        with torch.autocast(projected.device.type, enabled=False):
            loss = self.head.loss(*similarities(projected.float()))
        return dict(loss=loss * self.weight)


def similarities(projected: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine similarities between all views of all processes.

    Args:
        projected: (2 * B, C), the first views before the second ones.

    Returns:
        For each of the 2 * N views, N = B * processes: the similarity to the other view
        of its image (2 * N, 1), and to all views of other images (2 * N, 2 * N - 2).
    """
    from mmpretrain.models.selfsup.simclr import GatherLayer

    norm = torch.norm(projected, p=2, dim=1, keepdim=True)
    # The two views of an image side by side: so they stay together across processes.
    paired = (projected / (norm + 1e-10)).unflatten(0, (2, -1)).transpose(0, 1)
    everyone = torch.cat(GatherLayer.apply(paired.flatten(0, 1).contiguous()))
    cosines = everyone @ everyone.T
    count = len(cosines)
    itself = torch.arange(count, device=cosines.device)
    other_view = itself ^ 1
    negative = torch.ones_like(cosines, dtype=torch.bool)
    negative[itself, itself] = negative[itself, other_view] = False
    return (
        cosines[itself, other_view][:, None],
        cosines[negative].view(count, count - 2),
    )


def checked_weight(owner: str, weight: float) -> float:
    """Take a factor of a loss, or say what is wrong with it.

    Args:
        owner: The class that wants it.
        weight: What was given.

    Returns:
        The weight as a ``float``.

    Raises:
        ValueError: Not a finite number of 0 or more.
    """
    is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
    if not is_number or not 0 <= weight < float("inf"):
        raise ValueError(
            f"{owner} expects a weight of 0 or more, got {weight!r}: it is the factor "
            "of this objective's loss."
        )
    return float(weight)
