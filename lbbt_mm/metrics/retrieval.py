"""Retrieval: does an image's nearest neighbour show the same class (table 11)?

mmpretrain's RetrievalRecall and RetrievalAveragePrecision give the same recall and mAP
where no two distances are equal; where some are, their numbers depend on the order of
the data (mAP 30 and 25 of the same 40 equal features), and they have no Pass and NDCG.
"""

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
_CHUNK = 64  # queries that are ranked at once


def retrieval_scores(
    features: Tensor,
    labels: Tensor,
    topk: Sequence[int] = (1, 5),
    distance: str = "cosine",
) -> dict[str, float]:
    """Let every image look for the others of its class.

    Each image is a query once; the others are the gallery, ordered by their distance.
    Of images at the same distance every order is as good as any other, and each score
    is its mean over all these orders, so that the order of the data does not matter
    (McSherry and Najork, ECIR 2008). Relevant is what has the query's label; a query
    without anything relevant is left out. With ``r(i)`` one where the
    i-th of the order is relevant and else zero, and ``R`` the number of relevant
    images, the means over queries are, in per cent:

    - ``mAP``: sum over i of ``r(i)`` x precision among the first i, over ``R``;
    - ``pass@k``: precision at k, the sum of the first k ``r(i)`` over k. The paper's
      Pass@5 is below its Pass@1, which fits no other reading;
    - ``recall@k``: whether any of the first k is relevant;
    - ``ndcg@k``: sum of the first k ``r(i) / log2(i + 1)``, over the same sum of an
      order that has all relevant images in front.

    Memory is that of ``_CHUNK`` queries' distances to all images, in float64: features
    with a large common part differ in digits that float32 does not have. The cosine to
    a feature of zeros counts as 0.

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

    Example:
        >>> test = probe_features(cfg, "epoch_6.pth", cache_dir=None).test
        >>> retrieval_scores(test.features, test.labels)["mAP"]
    """
    _check(features, labels, topk, distance)
    images = len(labels)
    features = features.double()
    if distance == "cosine":
        features = F.normalize(features, dim=1, eps=1e-300)
    # One number for equal images, which a matrix product would not promise.
    different, place_of = features.unique(dim=0, return_inverse=True)
    places = torch.arange(1, images, device=features.device, dtype=features.dtype)
    discounts = 1 / (places + 1).log2()
    ideal = F.pad(discounts.cumsum(0), (1, 0))  # of 0, 1, 2, ... relevant images
    sums: dict[str, float] = {}
    queries = 0
    for start in range(0, images, _CHUNK):
        rows = torch.arange(start, min(start + _CHUNK, images), device=features.device)
        far = _distances(features[rows], different, distance)[:, place_of]
        far[torch.arange(len(rows)), rows] = math.inf  # the query itself: last, cut off
        far, order = (found[:, :-1] for found in far.sort(dim=1))
        hits = (labels[order] == labels[rows, None]).to(features.dtype)
        relevant = hits.sum(dim=1)
        some = relevant > 0
        queries += int(some.sum())
        ties = _Ties(far[some], hits[some])
        scores = {"mAP": ties.average_precision() / relevant[some]}
        expected = ties.share[:, : max(topk)]
        for k in topk:
            best = ideal[relevant[some].clamp(max=k).long()]
            scores[f"pass@{k}"] = expected[:, :k].mean(dim=1)
            scores[f"recall@{k}"] = ties.any_of(k)
            scores[f"ndcg@{k}"] = (expected[:, :k] * discounts[:k]).sum(dim=1) / best
        for name, values in scores.items():
            sums[name] = sums.get(name, 0.0) + float(values.sum())
    if not queries:
        raise ValueError(
            f"Retrieval expects a class with at least two images, got {images} images "
            "of as many classes: there is nothing to find."
        )
    return {name: 100 * total / queries for name, total in sums.items()} | dict(
        queries=float(queries)
    )


class _Ties:
    """Orders of galleries, in which images at one distance are in any order.

    Args:
        far: Ascending distances, (queries, images).
        hits: 1 where the image is relevant, otherwise 0.

    Attributes:
        share: Of each place, the share of orders with a relevant image there.
    """

    def __init__(self, far: Tensor, hits: Tensor) -> None:
        new = far[:, 1:] != far[:, :-1]
        group = F.pad(new.cumsum(dim=1), (1, 0))
        size = torch.zeros_like(hits).scatter_add_(1, group, torch.ones_like(hits))
        good = torch.zeros_like(hits).scatter_add_(1, group, hits)
        # Of each place: what its group has, what stands before the group and before
        # the place in the group.
        self.size, self.good = size.gather(1, group), good.gather(1, group)
        self.before = (size.cumsum(1) - size).gather(1, group)
        self.good_before = (good.cumsum(1) - good).gather(1, group)
        self.place = torch.arange(hits.shape[1], device=hits.device, dtype=hits.dtype)
        self.inside = self.place - self.before
        self.share = self.good / self.size

    def average_precision(self) -> Tensor:
        """Mean over the orders of the sum of precisions at relevant images."""
        # A relevant image at a place shares the group's other places with the rest.
        others = (self.good - 1) / (self.size - 1).clamp(min=1)
        found = self.good_before + 1 + self.inside * others
        return (self.share * found / (self.place + 1)).sum(dim=1)

    def any_of(self, k: int) -> Tensor:
        """Share of the orders with a relevant image among the first k."""
        inside, size, good = self.inside[:, :k], self.size[:, :k], self.good[:, :k]
        # The next one is not relevant either, if none before it in its group was.
        missed = ((size - good - inside) / (size - inside)).clamp(min=0)
        return 1 - missed.prod(dim=1)


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
    _check_distance(distance)
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


def _check_distance(distance: str) -> None:
    if distance not in DISTANCES:
        raise ValueError(f"distance should be of {DISTANCES}, got {distance!r}.")


@METRICS.register_module()
class RetrievalMetric(BaseMetric):
    """:func:`retrieval_scores` over the evaluated images, under ``retrieval/``.

    Args:
        topk: Values of k.
        distance: ``'cosine'`` or ``'euclidean'``.
        collect_device: ``'cpu'`` or ``'gpu'``: where results of several processes are
            collected.
        prefix: In place of ``retrieval``.

    Example:
        >>> model = dict(head=dict(type="lbbt_mm.FeatureHead"))
        >>> test_evaluator = dict(type="lbbt_mm.RetrievalMetric", topk=(1, 5))
    """

    default_prefix = "retrieval"

    def __init__(
        self,
        topk: Sequence[int] = (1, 5),
        distance: str = "cosine",
        collect_device: str = "cpu",
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        _check_distance(distance)
        self.topk = tuple(topk)
        self.distance = distance

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep each image's feature and label.

        Args:
            data_batch: Unused.
            data_samples: Per image the feature (C,) and ``gt_label``.

        Raises:
            ValueError: An image lacks one of them, or has several labels.
        """
        for sample in data_samples:
            feature, label = sample.get("feature"), sample.get("gt_label")
            labels = 0 if label is None else torch.as_tensor(label).numel()
            if feature is None or labels != 1:
                raise ValueError(
                    "RetrievalMetric expects 'feature' and one gt_label in "
                    f"each data sample, got {sorted(sample)}. A head of "
                    "type='lbbt_mm.FeatureHead' writes the feature; the images need "
                    "true labels."
                )
            label = int(torch.as_tensor(label))
            feature = torch.as_tensor(feature).detach().flatten().cpu()
            if feature.dtype not in (torch.float32, torch.float64):
                feature = feature.float()
            self.results.append((feature, label))

    def compute_metrics(self, results: list[tuple[Tensor, int]]) -> dict[str, float]:
        """Rank all images."""
        features = torch.stack([feature for feature, _ in results])
        labels = torch.tensor([label for _, label in results])
        return retrieval_scores(features, labels, self.topk, self.distance)
