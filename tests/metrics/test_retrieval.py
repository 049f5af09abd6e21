"""Retrieval scores: hand-worked, against a slow reference, and in a run."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lbbt_mm.metrics import retrieval
from lbbt_mm.metrics.retrieval import RetrievalMetric, retrieval_scores
from lbbt_mm.models import FeatureHead

# On a line: A at 0, 2 and 6, B at 1 and 20, one C at 30 that nothing resembles.
LINE = torch.tensor([[0.0], [2.0], [6.0], [1.0], [20.0], [30.0]])
LABELS = torch.tensor([0, 0, 0, 1, 1, 2])


def test_a_case_that_can_be_worked_out_by_hand() -> None:
    found = retrieval_scores(LINE, LABELS, topk=(1, 2), distance="euclidean")
    # What each query finds, nearest first; 1 where the class is the query's.
    #   A at 0:  1(B) 2(A) 6(A) 20 30     0 1 1 0 0
    #   A at 2:  1(B) 0(A) 6(A) 20 30     0 1 1 0 0
    #   A at 6:  2(A) 1(B) 0(A) 20 30     1 0 1 0 0
    #   B at 1:  0(A) 2(A) 6(A) 20(B) 30  0 0 0 1 0
    #   B at 20: 30(C) 6(A) 2(A) 1(B) 0   0 0 0 1 0
    #   C at 30: nothing to find
    aps = [(1 / 2 + 2 / 3) / 2] * 2 + [(1 + 2 / 3) / 2, 1 / 4, 1 / 4]
    second = 1 / math.log2(3)
    ndcg2 = [second / (1 + second)] * 2 + [1 / (1 + second), 0, 0]
    assert found == pytest.approx(
        {
            "mAP": 100 * sum(aps) / 5,
            "pass@1": 20,
            "recall@1": 20,
            "ndcg@1": 20,
            "pass@2": 100 * (3 * 1 / 2) / 5,
            "recall@2": 60,
            "ndcg@2": 100 * sum(ndcg2) / 5,
            "queries": 5,
        }
    )


def reference(features: Tensor, labels: Tensor, k: int) -> dict[str, float]:
    """The definitions, one query and one image at a time."""
    scores: dict[str, list[float]] = {"mAP": [], "pass": [], "recall": [], "ndcg": []}
    unit = features / features.norm(dim=1, keepdim=True)
    for query in range(len(labels)):
        others = [i for i in range(len(labels)) if i != query]
        others.sort(key=lambda i: -float(unit[query] @ unit[i]))
        hits = [int(labels[i] == labels[query]) for i in others]
        if not sum(hits):
            continue
        at = [sum(hits[:i]) / i for i in range(1, len(hits) + 1)]
        scores["mAP"].append(
            sum(h * p for h, p in zip(hits, at, strict=True)) / sum(hits)
        )
        scores["pass"].append(at[k - 1])
        scores["recall"].append(float(any(hits[:k])))
        gain = sum(h / math.log2(i + 2) for i, h in enumerate(hits[:k]))
        best = sum(1 / math.log2(i + 2) for i in range(min(k, sum(hits))))
        scores["ndcg"].append(gain / best)
    return {name: 100 * sum(v) / len(v) for name, v in scores.items()}


def test_many_images_are_ranked_in_chunks(monkeypatch) -> None:
    monkeypatch.setattr(retrieval, "_CHUNK", 7)
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(40, 5, generator=generator)
    labels = torch.randint(0, 6, (40,), generator=generator)
    found = retrieval_scores(features, labels, topk=(3,))
    expected = reference(features, labels, 3)
    for name, value in expected.items():
        key = name if name == "mAP" else f"{name}@3"
        assert found[key] == pytest.approx(value, rel=1e-5), name


def test_length_counts_only_where_it_is_asked_for() -> None:
    features = torch.tensor([[1.0, 0], [100, 1], [1, 1], [1, 1.1]])
    labels = torch.tensor([0, 0, 1, 1])
    assert retrieval_scores(features, labels, (1,))["mAP"] == 100
    far = retrieval_scores(features, labels, (1,), "euclidean")
    assert far["mAP"] < 100


def every_order(features: Tensor, labels: Tensor, k: int) -> dict[str, float]:
    """Each query's scores, averaged over all orders of the gallery that distances
    allow; features on a line."""
    sums: dict[str, float] = {"mAP": 0, "pass": 0, "recall": 0, "ndcg": 0}
    for query in range(len(labels)):
        others = [i for i in range(len(labels)) if i != query]
        far = {i: float((features[i] - features[query]).abs()) for i in others}
        rows = []
        for order in itertools.permutations(others):
            if [far[i] for i in order] != sorted(far.values()):
                continue
            hits = [int(labels[i] == labels[query]) for i in order]
            at = [sum(hits[: i + 1]) / (i + 1) for i in range(len(hits))]
            gain = [1 / math.log2(i + 2) for i in range(len(hits))]
            rows.append(
                dict(
                    mAP=sum(h * p for h, p in zip(hits, at, strict=True)) / sum(hits),
                    recall=float(any(hits[:k])),
                    ndcg=sum(h * g for h, g in zip(hits[:k], gain, strict=False))
                    / sum(gain[: min(k, sum(hits))]),
                )
                | {"pass": at[k - 1]}
            )
        for name in sums:
            sums[name] += 100 * sum(r[name] for r in rows) / len(rows) / len(labels)
    return sums


@pytest.mark.parametrize(
    "line",
    [[0] * 7, [0, 0, 1, 1, 1, 2, 0], [0, 1, 1, 2, 2, 0, 5], [0, 1, 3, 7, 9, 20, 40]],
)
def test_equal_distances_count_as_every_order_of_them(line: list) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    features = torch.tensor(line, dtype=torch.float32)[:, None]
    for k in (1, 2, 5):
        found = retrieval_scores(features, labels, (k,), "euclidean")
        for name, value in every_order(features[:, 0], labels, k).items():
            key = name if name == "mAP" else f"{name}@{k}"
            assert found[key] == pytest.approx(value, rel=1e-9), (name, k)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_the_order_of_the_data_does_not_matter(distance: str) -> None:
    """Data lie sorted by class; what says nothing is at chance."""
    labels = torch.arange(40) // 8
    equal = retrieval_scores(torch.full((40, 3), 0.3), labels, (1,), distance)
    assert equal["pass@1"] == pytest.approx(100 * 7 / 39)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(1, 3, (40, 3), generator=generator).float()
    mixed = torch.randperm(40, generator=generator)
    found, other = (
        retrieval_scores(f, y, (1, 5), distance)
        for f, y in ((coarse, labels), (coarse[mixed], labels[mixed]))
    )
    assert found == pytest.approx(other)


def test_where_no_distances_are_equal_the_neighbours_find_the_same() -> None:
    """The reason for our own is elsewhere: equal distances, each image a query."""
    from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 4, generator=generator)
    labels = torch.arange(30) % 3
    unit = (features / features.norm(dim=1, keepdim=True)).double()
    theirs, precisions, recalls = [], [], []
    for n in range(30):
        others = torch.arange(30) != n
        right, near = (labels == labels[n])[others], (unit @ unit[n])[others]
        theirs.append(100 * average_precision_score(right, near))
        pair = near[None], right[None].long()
        precisions.append(RetrievalAveragePrecision.calculate(*pair, topk=29))
        recalls.append(float(RetrievalRecall.calculate(*pair, topk=2)[0]))
    found = retrieval_scores(features, labels, (2,))
    assert found["mAP"] == pytest.approx(sum(theirs) / 30)
    assert found["mAP"] == pytest.approx(sum(precisions) / 30)
    assert found["recall@2"] == pytest.approx(sum(recalls) / 30)


def test_a_large_common_part_hides_nothing() -> None:
    """The cosine of features far from zero differs in digits beyond float32."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(20) // 2
    features = torch.randn(10, 6, generator=generator)[labels].double() + 1e5
    features += 1e-3 * torch.randn(20, 6, generator=generator)
    assert retrieval_scores(features, labels, (1,))["pass@1"] == 100
    metric = RetrievalMetric(topk=(1,))
    for feature, label in zip(features, labels, strict=True):
        metric.process(None, [dict(feature=feature, gt_label=label)])
    assert metric.evaluate(20)["retrieval/pass@1"] == 100


def test_features_of_zeros_resemble_nothing() -> None:
    features = torch.tensor([[0.0, 0], [0, 0], [1, 0], [1, 0], [-1, 0]])
    found = retrieval_scores(features, torch.tensor([0, 0, 1, 1, 2]), (1,))
    # Both zeros: any of four. Both others: each other.
    assert found["pass@1"] == pytest.approx(100 * (2 / 4 + 2) / 4)


@pytest.mark.parametrize(
    ("features", "labels", "options", "sentence"),
    [
        (LINE, LABELS[:5], {}, r"labels \(images,\), got \(6, 1\) and \(5,\)"),
        (LINE[:, 0], LABELS, {}, r"features \(images, channels\)"),
        (LINE / LINE, LABELS, {}, r"NaN or infinity for 1 image\(s\).*number 0"),
        (LINE, LABELS, dict(topk=(6,)), "between 1 and 5"),
        (LINE, LABELS, dict(topk=()), r"got \(\)"),
        (LINE, LABELS, dict(distance="far"), "should be of .*'far'"),
        (LINE, torch.arange(6), {}, "at least two images, got 6 images"),
    ],
)
def test_bad_input_is_one_sentence(features, labels, options, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        retrieval_scores(features, labels, **options)


def test_the_metric_evaluates_what_the_head_writes() -> None:
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(int(label)) for label in LABELS]
    FeatureHead().predict((None, LINE), samples)
    metric = RetrievalMetric(topk=(2,), distance="euclidean")
    for sample in samples:
        metric.process(None, [sample.to_dict()])
    found = metric.evaluate(len(samples))
    expected = retrieval_scores(LINE, LABELS, (2,), "euclidean")
    assert found == {f"retrieval/{k}": pytest.approx(v) for k, v in expected.items()}


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="expects .feature. and one gt_label.*pred"):
        RetrievalMetric().process(None, [dict(pred_score=LINE[0])])
    with pytest.raises(ValueError, match="'far'"):
        RetrievalMetric(distance="far")
    with pytest.raises(ValueError, match=r"one vector \(N, C\).*got \(1, 2, 3, 4\)"):
        FeatureHead().pre_logits((torch.zeros(1, 2, 3, 4),))
    with pytest.raises(TypeError, match="nothing to train"):
        FeatureHead().loss((LINE,), [])
