"""Retrieval: does an image's nearest neighbour show the same class (table 11)?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from torch import Tensor

from lbbt_mm.registry import METRICS

DISTANCES = ("cosine", "euclidean")
_CHUNK = 256  # queries that are ranked at once


def retrieval_scores(
    features: Tensor,
    labels: Tensor,
    topk: Sequence[int] = (1, 5),
    distance: str = "cosine",
) -> dict[str, float]:
    """Let every image look for the others of its class.

    Each image is a query once; the others are the gallery, ordered by their distance
    (of equal ones the earlier image comes first). Relevant is what has the query's
    label; a query without anything relevant is left out. With ``r(i)`` one where the
    i-th of the order is relevant and else zero, and ``R`` the number of relevant
    images, the means over queries are, in per cent:

    - ``mAP``: sum over i of ``r(i)`` x precision among the first i, over ``R``;
    - ``pass@k``: precision at k, the sum of the first k ``r(i)`` over k. The paper's
      Pass@5 is below its Pass@1, which fits no other reading;
    - ``recall@k``: whether any of the first k is relevant;
    - ``ndcg@k``: sum of the first k ``r(i) / log2(i + 1)``, over the same sum of an
      order that has all relevant images in front.

    Memory is that of ``_CHUNK`` queries' distances to all images.

    Args:
        features: (images, channels).
        labels: (images,), integers.
        topk: Values of k.
        distance: ``'cosine'`` or ``'euclidean'``.

    Returns:
        The scores, and ``queries``, how many images had anything to find.

    Raises:
        ValueError: The shapes do not fit, a feature is not finite, a k is not between 1
            and the size of the gallery, or no label occurs twice.
    """
    _check(features, labels, topk, distance)
    images = len(labels)
    features = features.float()
    if distance == "cosine":
        features = F.normalize(features, dim=1)
    discounts = 1 / torch.arange(2, images + 1, device=features.device).log2()
    places = torch.arange(1, images, device=features.device)
    ideal = F.pad(discounts.cumsum(0), (1, 0))  # of 0, 1, 2, ... relevant images
    sums: dict[str, float] = {}
    queries = 0
    for start in range(0, images, _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, images), device=features.device)
        far = _distances(features[rows], features, distance)
        far[torch.arange(len(rows)), rows] = math.inf  # the query itself: last, cut off
        order = far.argsort(dim=1, stable=True)[:, :-1]
        hits = (labels[order] == labels[rows, None]).float()
        relevant = hits.sum(dim=1)
        hits, relevant = hits[relevant > 0], relevant[relevant > 0]
        queries += len(hits)
        found = hits.cumsum(dim=1)
        scores = {"mAP": (hits * found / places).sum(dim=1) / relevant}
        for k in topk:
            first = hits[:, :k]
            scores[f"pass@{k}"] = first.mean(dim=1)
            scores[f"recall@{k}"] = first.amax(dim=1)
            best = ideal[relevant.clamp(max=k).long()]
            scores[f"ndcg@{k}"] = (first * discounts[:k]).sum(dim=1) / best
        for name, values in scores.items():
            sums[name] = sums.get(name, 0.0) + float(values.double().sum())
    if not queries:
        raise ValueError(
            f"Retrieval expects a class with at least two images, got {images} images "
            "of as many classes: there is nothing to find."
        )
    return {name: 100 * total / queries for name, total in sums.items()} | dict(
        queries=float(queries)
    )


def _distances(queries: Tensor, gallery: Tensor, distance: str) -> Tensor:
    if distance == "cosine":
        return -queries @ gallery.T
    # Not through a matrix product, whose rounding would exchange close neighbours.
    return torch.cdist(queries, gallery, compute_mode="donot_use_mm_for_euclid_dist")


def _check(
    features: Tensor, labels: Tensor, topk: Sequence[int], distance: str
) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            "Retrieval expects features (images, channels) and labels (images,), got "
            f"{tuple(features.shape)} and {tuple(labels.shape)}."
        )
    if distance not in DISTANCES:
        raise ValueError(f"distance should be of {DISTANCES}, got {distance!r}.")
    bad = (~features.isfinite().all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"Retrieval expects finite features, got NaN or infinity for {len(bad)} "
            f"image(s), the first is number {bad[0]}: look at the checkpoint."
        )
    gallery = len(labels) - 1
    if not topk or not all(1 <= k <= gallery for k in topk):
        raise ValueError(
            f"Each k of topk should be between 1 and {gallery}, the number of images "
            f"that a query can find, got {tuple(topk)}."
        )


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """:func:`retrieval_scores` over the evaluated images, under ``retrieval/``.

    Args:
        topk: Values of k.
        distance: ``'cosine'`` or ``'euclidean'``.
        feature: Name of the feature in a data sample; ``lbbt_mm.FeatureHead`` writes
            ``'feature'``.
        collect_device: ``'cpu'`` or ``'gpu'``: where results of several processes are
            collected.
        prefix: In place of ``retrieval``.
    """

    default_prefix = "retrieval"

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        distance: str = "cosine",
        feature: str = "feature",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if distance not in DISTANCES:
            raise ValueError(f"distance should be of {DISTANCES}, got {distance!r}.")
        self.topk = tuple(topk)
        self.distance = distance
        self.feature = feature

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's feature and label.

        Args:
            data_batch: Unused.
            data_samples: Per image the feature (C,) and ``gt_label``.

        Raises:
            ValueError: An image lacks one of them, or has several labels.
        """
        for sample in data_samples:
            feature, label = sample.get(self.feature), sample.get("gt_label")
            labels = 0 if label is None else torch.as_tensor(label).numel()
            if feature is None or labels != 1:
                raise ValueError(
                    f"RetrievalMetric expects {self.feature!r} and one gt_label in "
                    f"each data sample, got {sorted(sample)}. A head of "
                    "type='lbbt_mm.FeatureHead' writes the feature; the images need "
                    "true labels."
                )
            label = int(torch.as_tensor(label))
            self.results.append((feature.flatten().float().cpu(), label))

    def compute_metrics(self, results: list[tuple[Tensor, int]]) -> dict[str, float]:
        """Rank all images.

        Args:
            results: What :meth:`process` kept, of all processes, without the images
                that pad the last batch.

        Returns:
            The scores of :func:`retrieval_scores`.
        """
        features = torch.stack([feature for feature, _ in results])
        labels = torch.tensor([label for _, label in results])
        return retrieval_scores(features, labels, self.topk, self.distance)
