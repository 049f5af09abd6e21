"""A head that predicts nothing and hands the features on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from mmengine.model import BaseModule
from torch import Tensor

from lbbt_mm.registry import MODELS


@MODELS.register_module()
class FeatureHead(BaseModule):
    """Writes an image's feature into its data sample, for ``lbbt_mm.RetrievalMetric``.

    In the place of a classifier's head, for testing only::

        model = dict(head=dict(_delete_=True, type="lbbt_mm.FeatureHead"))
        test_evaluator = dict(type="lbbt_mm.RetrievalMetric")

    A checkpoint's own head is then left out of the model, with mmengine's warning.

    Args:
        name: Of the feature in the data sample.
        init_cfg: mmengine's initialisation.
    """

    def __init__(
        self, name: str = "feature", init_cfg: dict[str, Any] | None = None
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.name = name

    def pre_logits(self, feats: Sequence[Tensor]) -> Tensor:
        """Pick the last stage.

        Args:
            feats: Outputs of the neck, or of the backbone.

        Returns:
            (N, C), what a linear layer would see.

        Raises:
            ValueError: It is not one vector an image.
        """
        last = feats[-1]
        if last.ndim != 2:
            raise ValueError(
                "FeatureHead expects one vector (N, C) an image, got "
                f"{tuple(last.shape)}. Set the backbone's out_type to 'last' or 'avg', "
                "or add a GlobalAveragePooling neck."
            )
        return last

    def predict(
        self, feats: Sequence[Tensor], data_samples: list[Any], **kwargs: Any
    ) -> list[Any]:
        """Write the features.

        Args:
            feats: As for :meth:`pre_logits`.
            data_samples: mmpretrain's, one an image.
            kwargs: Ignored; classifiers pass them on.

        Returns:
            The same data samples.
        """
        for sample, feature in zip(data_samples, self.pre_logits(feats), strict=True):
            sample.set_field(feature, self.name)
        return data_samples

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[Any], **kwargs: Any
    ) -> NoReturn:
        """Refuse: there is nothing to train.

        Args:
            feats: As for :meth:`pre_logits`.
            data_samples: mmpretrain's.
            kwargs: Ignored.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "FeatureHead has nothing to train; use it in a config for tools/test.py."
        )
