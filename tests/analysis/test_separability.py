"""Separability: by hand, on blobs and on noise, against scikit-learn's own splits."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from lbbt_mm.analysis.separability import measure_separability


def blobs(
    classes: int, each: int, distance: float, channels: int = 6
) -> tuple[Tensor, Tensor]:
    """Normal clouds around corners that are so far apart, shuffled."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(classes).repeat(each)
    corners = distance * torch.eye(classes, channels)
    noise = torch.randn(len(labels), channels, generator=generator)
    return corners[labels] + noise, labels


def test_separated_blobs_are_found_by_every_number() -> None:
    found = measure_separability(*blobs(3, 40, distance=100.0))
    assert found.silhouette > 0.95
    for value in (
        found.knn_accuracy,
        found.kmeans_nmi,
        found.kmeans_ari,
        found.tsne_nmi,
        found.tsne_ari,
    ):
        assert value == pytest.approx(1)
    assert found.points.shape == (120, 2) and np.isfinite(found.points).all()
    assert (found.images, found.classes, found.neighbours) == (120, 3, 5)
    assert found.perplexity == 30 and found.seed == 0
    assert len(np.unique(found.clusters)) == 3


def test_shuffled_labels_are_at_chance() -> None:
    features, labels = blobs(4, 100, distance=100.0)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    found = measure_separability(features, labels[order])
    assert -0.1 < found.silhouette < 0.05
    # four classes: 0.25, with a standard error of sqrt(0.25 * 0.75 / 400) = 0.02
    assert abs(found.knn_accuracy - 0.25) < 0.07
    assert found.kmeans_nmi < 0.05 and abs(found.kmeans_ari) < 0.05
    assert found.tsne_nmi < 0.05 and abs(found.tsne_ari) < 0.05


def test_points_on_a_line_worked_by_hand() -> None:
    # Two of class 0, two of class 1 far away, and a stray one of class 0 beside them.
    features = torch.tensor([[0.0], [1.0], [10.0], [11.0], [12.5]])
    found = measure_separability(features, torch.tensor([0, 0, 1, 1, 0]), neighbours=1)
    own = np.array([(1 + 12.5) / 2, (1 + 11.5) / 2, 1, 1, (12.5 + 11.5) / 2])
    other = np.array([21 / 2, 19 / 2, (10 + 9 + 2.5) / 3, (11 + 10 + 1.5) / 3, 4 / 2])
    silhouette = np.mean((other - own) / np.maximum(own, other))
    assert found.silhouette == pytest.approx(silhouette)
    assert found.knn_accuracy == pytest.approx(4 / 5)  # the stray one's is of class 1
    # Clusters {0, 1}, {10, 11, 12}: 4 pairs together, 4 in a class, 2 in both; 10 in
    # all, 1.6 in both by chance: (2 - 1.6) / (4 - 1.6).
    assert found.kmeans_ari == pytest.approx(1 / 6)
    assert found.perplexity == pytest.approx(4 / 3)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_neighbours_vote_as_scikit_learn_leaves_one_out(k: int) -> None:
    # odd k and two classes: there are no ties
    features, labels = blobs(2, 40, distance=1.5)
    found = measure_separability(features, labels, neighbours=k)
    model = KNeighborsClassifier(n_neighbors=k)
    hits = cross_val_score(model, features.numpy(), labels.numpy(), cv=LeaveOneOut())
    assert found.knn_accuracy == pytest.approx(hits.mean())
    assert 0.6 < found.knn_accuracy < 0.95


def test_the_nearer_of_two_equally_frequent_classes_counts() -> None:
    # Of 0, the nearest two are of class 1 (at 1) and of class 0 (at -2); so for each.
    features = torch.tensor([[0.0], [1.0], [-2.0], [100.0], [101.0], [98.0]])
    labels = torch.tensor([1, 1, 0, 0, 0, 1])
    found = measure_separability(features, labels, neighbours=2)
    # 0 -> 1 right; 1 -> 0 (class 1) right; -2 -> 0 (class 1) wrong; mirrored
    assert found.knn_accuracy == pytest.approx(4 / 6)


def test_a_shift_and_a_scale_change_nothing() -> None:
    features, labels = blobs(3, 30, distance=3.0)
    one = measure_separability(features, labels)
    # in float32, features of 0.001 around 10 000 would have no digits left
    other = measure_separability((features.double() * 1e-3 + 1e4), labels)
    for a, b in zip(one[:4], other[:4], strict=True):
        assert a == pytest.approx(b, abs=1e-4)


def test_seeds_samples_and_nothing_random_outside() -> None:
    features, labels = blobs(3, 40, distance=2.0)
    state, legacy = torch.get_rng_state(), np.random.get_state()[1].tolist()
    one, same, other = (
        measure_separability(features, labels, max_images=60, max_points=30, seed=seed)
        for seed in (0, 0, 1)
    )
    assert (one.images, len(one.points), len(one.labels)) == (60, 30, 30)
    assert one[:6] == same[:6] and np.array_equal(one.points, same.points)
    assert one.silhouette != other.silhouette
    assert torch.equal(torch.get_rng_state(), state)
    assert np.random.get_state()[1].tolist() == legacy


def test_labels_belong_to_their_points() -> None:
    features, labels = blobs(2, 50, distance=200.0)
    found = measure_separability(features, labels, max_images=80, max_points=40)
    centres = [found.points[found.labels == c].mean(axis=0) for c in (0, 1)]
    away = [np.linalg.norm(found.points - centre, axis=1) for centre in centres]
    assert (np.argmin(away, axis=0) == found.labels).all()


def test_fewer_images_than_neighbours_and_points_than_perplexity() -> None:
    found = measure_separability(
        torch.tensor([[0.0, 0.0], [0.1, 0.0], [5.0, 5.0], [5.1, 5.0]]),
        torch.tensor([7, 7, 3, 3]),
    )
    assert (found.neighbours, found.perplexity, found.classes) == (3, 1.0, 2)
    assert found.kmeans_ari == 1
    assert set(found.labels) == {3, 7}


# Bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "got"), [([0] * 6, "1 and 6"), (range(6), "6 and 6")]
)
def test_one_class_and_a_class_for_each_image(labels, got: str) -> None:
    features = torch.randn(6, 3)
    with pytest.raises(ValueError, match=f"more images than classes, got {got}: meas"):
        measure_separability(features, torch.tensor(list(labels)))


def test_no_images() -> None:
    with pytest.raises(ValueError, match="more images than classes, got 0 and 0"):
        measure_separability(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))


def test_features_that_are_not_finite() -> None:
    features, labels = blobs(2, 5, distance=1.0)
    features[4, 1], features[7, 0] = float("nan"), float("inf")
    with pytest.raises(ValueError, match="for 2 of 10 images, the first .* number 4: "):
        measure_separability(features, labels)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4])
def test_a_model_that_ignores_its_images(value: float) -> None:
    features = torch.full((30, 8), value)
    with pytest.raises(ValueError, match="the same vector for all 30: the model ignor"):
        measure_separability(features, torch.arange(30) % 3)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (torch.zeros(4, 2, 2), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(4, 2), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(4, 2), torch.zeros(4)),
    ],
)
def test_shapes_that_do_not_fit(features: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match=r"features \(N, C\) and integer labels \(N,"):
        measure_separability(features, labels)


def test_settings_that_do_not_fit() -> None:
    features, labels = blobs(2, 5, distance=1.0)
    with pytest.raises(ValueError, match="got 0 and 1000: 5 neighbours"):
        measure_separability(features, labels, neighbours=0)
    with pytest.raises(ValueError, match="three images or more, got 5 and 2"):
        measure_separability(features, labels, max_points=2)


def test_without_scikit_learn_it_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        measure_separability(*blobs(2, 5, distance=1.0))
