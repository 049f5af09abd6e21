"""How well features tell the true classes apart (figure 5).

The paper shows a t-SNE map with KMeans clusters; the same map is computed here, and
beside it numbers that need no picture. All of them compare Euclidean distances, so that
a shift or a common scale of the features changes none; channels are not standardised.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.version import require

N_INIT = 10
"""Random starts of KMeans, the best of which counts."""


class Separability(NamedTuple):
    """How far features fall into the true classes.

    Attributes:
        silhouette: Mean over images of ``(b - a) / max(a, b)`` by *true* classes; a is
            the mean distance to the image's own class, b to the nearest other one.
            From -1 to 1; at 0 or a little below where features tell nothing.
        knn_accuracy: Share of images, 0 to 1, whose class is the most frequent one
            among their k nearest *other* images (leave-one-out); where two are equally
            frequent, the nearer one counts. By chance: the share of the largest class
            at most, 1 / classes if all are of one size.
        kmeans_nmi: Normalised mutual information (arithmetic mean) of KMeans clusters,
            as many as classes, with the true classes: 0 to 1, a little above 0 by
            chance.
        kmeans_ari: Adjusted Rand index of the same: 1 if equal, 0 by chance.
        tsne_nmi: The same for KMeans on the t-SNE map, as the paper's figure has it.
        tsne_ari: The same.
        points: ``(S, 2)`` t-SNE map of some of the images.
        labels: ``(S,)`` their true classes.
        clusters: ``(S,)`` their KMeans clusters on the map.
        images: Number of images that the numbers are of.
        classes: Number of classes among them, and of clusters.
        neighbours: k of the nearest neighbours.
        perplexity: Of t-SNE.
        seed: Of samples, KMeans and t-SNE.
    """

    silhouette: float
    knn_accuracy: float
    kmeans_nmi: float
    kmeans_ari: float
    tsne_nmi: float
    tsne_ari: float
    points: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray
    images: int
    classes: int
    neighbours: int
    perplexity: float
    seed: int


def measure_separability(
    features: Tensor,
    labels: Tensor,
    neighbours: int = 5,
    perplexity: float = 30.0,
    max_images: int = 5000,
    max_points: int = 1000,
    seed: int = 0,
) -> Separability:
    """Measure how well features tell the true classes apart.

    Args:
        features: ``(N, C)``, a vector for each image.
        labels: ``(N,)`` true classes, integers.
        neighbours: k of the nearest neighbours; fewer where there are not so many.
        perplexity: Of t-SNE; a third of the points at most.
        max_images: A random sample of so many is measured where there are more: time
            and memory grow with its square.
        max_points: The same for t-SNE; 1000 in the reference.
        seed: Of everything random, and of nothing outside.

    Raises:
        ValueError: Shapes do not fit, features are not finite or all alike, there is
            one class only, or not more images than classes.
        ImportError: scikit-learn is missing.

    Example:
        >>> test = probe_features(cfg, "epoch_6.pth", cache_dir=None).test
        >>> measure_separability(test.features, test.labels).knn_accuracy
    """
    require("sklearn", "Separability of features")
    from sklearn import metrics
    from sklearn.cluster import KMeans
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors

    _check(features, labels, neighbours, min(max_images, max_points))
    rng = np.random.default_rng(seed)
    chosen_N = torch.from_numpy(_sample(len(features), max_images, rng))
    y_N = labels[chosen_N.to(labels.device)].cpu().numpy()
    number = _count_classes(y_N)
    x_NC = _centred(features.detach()[chosen_N.to(features.device)])

    def clusters_of(vectors: np.ndarray, classes: int) -> np.ndarray:
        return KMeans(classes, n_init=N_INIT, random_state=seed).fit_predict(vectors)

    k = min(neighbours, len(x_NC) - 1)
    # Asked about the images that it was fitted to, it does not find them themselves.
    nearest_NK = NearestNeighbors(n_neighbors=k).fit(x_NC).kneighbors()[1]
    guessed_N = _vote(y_N[nearest_NK])
    found_N = clusters_of(x_NC, number)

    shown_S = _sample(len(x_NC), max_points, rng)
    points_SC, labels_S = x_NC[shown_S], y_N[shown_S]
    shown_classes = _count_classes(labels_S)
    perplexity = min(perplexity, (len(points_SC) - 1) / 3)
    start = "pca" if points_SC.shape[1] > 1 else "random"
    map_S2 = TSNE(perplexity=perplexity, init=start, random_state=seed).fit_transform(
        points_SC
    )
    clusters_S = clusters_of(map_S2, shown_classes)
    return Separability(
        float(metrics.silhouette_score(x_NC, y_N)),
        float((guessed_N == y_N).mean()),
        float(metrics.normalized_mutual_info_score(y_N, found_N)),
        float(metrics.adjusted_rand_score(y_N, found_N)),
        float(metrics.normalized_mutual_info_score(labels_S, clusters_S)),
        float(metrics.adjusted_rand_score(labels_S, clusters_S)),
        map_S2,
        labels_S,
        clusters_S,
        len(x_NC),
        number,
        k,
        float(perplexity),
        seed,
    )


def _check(features: Tensor, labels: Tensor, neighbours: int, images: int) -> None:
    if (
        features.ndim != 2
        or labels.shape != features.shape[:1]
        or labels.is_floating_point()
    ):
        raise ValueError(
            f"Expected features (N, C) and integer labels (N,), got "
            f"{tuple(features.shape)} and {tuple(labels.shape)} {labels.dtype}: pool "
            f"the tokens, and give one true class for each image."
        )
    if neighbours < 1 or images < 3:
        raise ValueError(
            f"Expected one neighbour or more and samples of three images or more, got "
            f"{neighbours} and {images}: 5 neighbours and 1000 images are usual."
        )
    bad_N = ~torch.isfinite(features).all(dim=1)
    if bad_N.any():
        raise ValueError(
            f"Expected finite features, got nan or infinity for {int(bad_N.sum())} of "
            f"{len(features)} images, the first of them number "
            f"{int(bad_N.nonzero()[0])}: look for them in the images and in the "
            f"checkpoint's weights."
        )


def _count_classes(y_N: np.ndarray) -> int:
    number = len(np.unique(y_N))
    if number < 2 or number >= len(y_N):
        raise ValueError(
            f"Expected two classes or more, and more images than classes, got "
            f"{number} and {len(y_N)}: measure on images of several classes, some "
            f"hundreds."
        )
    return number


def _centred(features: Tensor) -> np.ndarray:
    """Take off what changes no ratio of distances and costs float32 its digits."""
    x_NC = features.cpu().double().numpy()
    away_NC = x_NC - x_NC.mean(axis=0)
    spread = away_NC.std()
    if spread <= 1e-7 * np.abs(x_NC).max(initial=0):
        raise ValueError(
            f"Expected features that differ between images, got the same vector for "
            f"all {len(x_NC)}: the model ignores its images, so that there is nothing "
            f"to tell apart."
        )
    return (away_NC / spread).astype(np.float32)


def _sample(number: int, at_most: int, rng: np.random.Generator) -> np.ndarray:
    """Choose so many of the images, in their order; all of them if they are fewer."""
    if number <= at_most:
        return np.arange(number)
    return np.sort(rng.choice(number, at_most, replace=False))


def _vote(classes_NK: np.ndarray) -> np.ndarray:
    """Find the most frequent class of each row; the leftmost one of several."""
    same_NKK = classes_NK[:, :, None] == classes_NK[:, None, :]
    first_N = same_NKK.sum(axis=2).argmax(axis=1)
    return classes_NK[np.arange(len(classes_NK)), first_N]
