"""One backbone and one or several objectives: the bridge in its general shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import ModuleDict
from mmpretrain.models.classifiers import ImageClassifier
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from lbbt_mm.registry import find_type


class BridgeClassifier(ImageClassifier):
    """mmpretrain's ``ImageClassifier`` with a list of objectives in place of its head.

    Features are computed once, and each objective sees all of them. With one
    ``LabelObjective`` it is the ``ImageClassifier`` with its head: the same weights
    under one seed, the same loss to the bit. The backbone's weights have the same names
    in a checkpoint, so that probes, fine-tuning and analyses take either.

    The log has ``loss_NAME`` for each objective, with its weight. The accuracy of the
    first one that has any is ``accuracy_top-1``, as everywhere; that of the others is
    ``NAME_accuracy_top-1``.

    Args:
        backbone: Config of the backbone.
        objectives: One dict each: ``name``, ``type`` (``lbbt_mm.LabelObjective``,
            ``lbbt_mm.ContrastiveObjective``, or another of that shape) and the
            arguments of the type, ``weight`` among them. Left out, ``in_channels`` of a
            head or neck is the backbone's width, and ``head`` of a ``LabelObjective``
            is the one below. An objective class with ``has_head = False`` takes
            none, one with ``sees_images`` is given the images too, and one with
            ``bind`` the whole model, once.
        head: Config of a head, for objectives that state none of their own.
        neck: Config of a neck between backbone and all heads, if any.
        predict_with: Name of the objective whose head predicts; the first one that has
            a ``num_classes`` by default.
        train_cfg: As of ``ImageClassifier``.
        data_preprocessor: As of ``ImageClassifier``.
        init_cfg: mmengine's initialisation.

    Raises:
        ValueError: There are no objectives, names are missing, double or unusable, or
            ``predict_with`` names none that can predict.

    Example:
        >>> random = dict(name="random", type="lbbt_mm.LabelObjective", num_classes=10)
        >>> model = dict(type="lbbt_mm.BridgeClassifier", objectives=[random])
    """

    def __init__(
        self,
        backbone: Mapping[str, Any] | nn.Module,
        objectives: Sequence[Mapping[str, Any]],
        head: Mapping[str, Any] | None = None,
        neck: Mapping[str, Any] | None = None,
        predict_with: str | None = None,
        train_cfg: dict[str, Any] | None = None,
        data_preprocessor: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        names = _names(objectives)
        self._predicts: str | None = None  # before super(), which sets self.head
        super().__init__(
            backbone=backbone,
            neck=neck,
            head=None,
            train_cfg=train_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        width = getattr(self.backbone, "embed_dims", None)
        completed = [_complete(one, head, width) for one in objectives]
        built = (MODELS.build(cfg) for cfg in completed)
        self.objectives = ModuleDict(dict(zip(names, built, strict=True)))
        self._predicts = self._choose_predictor(predict_with)
        for objective in self.objectives.values():
            if hasattr(objective, "bind"):
                objective.bind(self)

    def _choose_predictor(self, wanted: str | None) -> str | None:
        able = [
            name
            for name, objective in self.objectives.items()
            if hasattr(getattr(objective, "head", None), "predict")
        ]
        if wanted is not None and wanted not in able:
            raise ValueError(
                "BridgeClassifier: expected predict_with to name an objective that "
                f"classifies, one of {able}, got {wanted!r}."
            )
        return wanted or (able[0] if able else None)

    @property
    def head(self) -> nn.Module | None:
        """The head that predicts, where mmpretrain looks for it."""
        return self.objectives[self._predicts].head if self._predicts else None

    @head.setter
    def head(self, value: None) -> None:
        """Nothing to set: heads belong to objectives."""

    def loss(self, inputs: Tensor, data_samples: list[Any]) -> dict[str, Tensor]:
        """Compute the losses of all objectives.

        Args:
            inputs: Images (V * B, C, H, W); of several views, all first ones before all
                second ones, as ``lbbt_mm.collate_views`` makes them.
            data_samples: B of them.

        Returns:
            ``loss_NAME`` of each objective, and the accuracies that they report.

        Raises:
            ValueError: V is no whole number.
        """
        views, rest = divmod(len(inputs), len(data_samples))
        if rest or not views:
            raise ValueError(
                f"BridgeClassifier: expected the same number of views of each image, "
                f"got {len(inputs)} views of {len(data_samples)} images; make them "
                "with MultiView and lbbt_mm.collate_views."
            )
        feats: Any = ()
        if any(getattr(o, "sees_features", True) for o in self.objectives.values()):
            feats = self.extract_feat(inputs)
        log: dict[str, Tensor] = {}
        for name, objective in self.objectives.items():
            seen: tuple[Any, ...] = (feats, data_samples, views)
            if getattr(objective, "sees_images", False):
                seen = (*seen, inputs)
            for key, value in objective.loss(*seen).items():
                if "loss" in key:
                    log[f"{key}_{name}"] = value
                else:
                    log[f"{name}_{key}" if key in log else key] = value
        return log

    def predict(
        self, inputs: Tensor, data_samples: list[Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        """Predict with the head of one objective.

        Args:
            inputs: Images (B, C, H, W).
            data_samples: B of them, or none.
            kwargs: For the head.

        Returns:
            The data samples, with ``pred_score`` and ``pred_label``.

        Raises:
            TypeError: No objective can predict.
        """
        if self.head is None:
            raise TypeError(
                "BridgeClassifier: expected an objective that classifies, got "
                f"{list(self.objectives)}, which predict nothing; train with "
                "--no-validate and evaluate with tools/linear_probe.py."
            )
        return super().predict(inputs, data_samples, **kwargs)


def _names(objectives: Sequence[Mapping[str, Any]]) -> list[str]:
    names: list[Any] = [one.get("name") for one in objectives]
    if not names or any(not isinstance(n, str) or not n.isidentifier() for n in names):
        raise ValueError(
            "BridgeClassifier: expected objectives=[dict(name='random', type=..., ...)"
            f", ...], each with a name such as 'random', got the names {names}."
        )
    if len(set(names)) < len(names) or any("loss" in name for name in names):
        raise ValueError(
            "BridgeClassifier: expected different names without 'loss' in them, which "
            f"is what mmengine adds up, got {names}."
        )
    return names


def _complete(
    objective: Mapping[str, Any], head: Mapping[str, Any] | None, width: int | None
) -> dict[str, Any]:
    """Fill in what an objective leaves to the classifier."""
    cfg = {key: value for key, value in objective.items() if key != "name"}
    if not getattr(find_type(cfg, MODELS), "has_head", True):
        return cfg
    if "neck" not in cfg and "head" not in cfg and head is not None:
        cfg["head"] = head
    first = "neck" if "neck" in cfg else "head"
    if width is not None and first in cfg:
        cfg[first] = {"in_channels": width, **cfg[first]}
    return cfg
