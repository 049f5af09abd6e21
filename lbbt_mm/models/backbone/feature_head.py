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

    In the place of a classifier's head, for testing only. A checkpoint's own head is
    left out of the model, with mmengine's warning.

    Args:
        init_cfg: mmengine's initialisation.

    Example:
        >>> model = dict(head=dict(_delete_=True, type="lbbt_mm.FeatureHead"))
        >>> test_evaluator = dict(type="lbbt_mm.RetrievalMetric")
    """

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
        """Write each image's feature into its data sample, as ``feature``.

        Args:
            feats: As for :meth:`pre_logits`.
            data_samples: mmpretrain's, one an image.
            kwargs: Ignored; classifiers pass them on.
        """
        for sample, feature in zip(data_samples, self.pre_logits(feats), strict=True):
            sample.set_field(feature, "feature")
        return data_samples

    def loss(
        self, feats: Sequence[Tensor], data_samples: list[Any], **kwargs: Any
    ) -> NoReturn:
        """Refuse with a ``TypeError``: there is nothing to train."""
        raise TypeError(
            "FeatureHead has nothing to train; use it in a config for tools/test.py."
        )
