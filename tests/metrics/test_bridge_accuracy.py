"""BridgeAccuracy through mmengine's Evaluator."""

from __future__ import annotations

import warnings

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.structures import BaseDataElement


def sample(predicted, gt_label, true_label=None, *, score=True, as_meta=False):
    found = BaseDataElement(gt_label=torch.tensor([gt_label]))
    if score:
        found.pred_score = torch.eye(4)[predicted]
    else:
        found.pred_label = torch.tensor([predicted])
    if true_label is not None:
        kind = "metainfo" if as_meta else "data"
        found.set_field(true_label, "true_label", field_type=kind)
    return found


def evaluate(samples, size=None, **kwargs):
    evaluator = Evaluator([dict(type="lbbt_mm.BridgeAccuracy", **kwargs)])
    for start in range(0, len(samples), 2):  # batches of two
        evaluator.process(samples[start : start + 2])
    return evaluator.evaluate(size or len(samples))


@pytest.mark.parametrize("score", [True, False])
@pytest.mark.parametrize("as_meta", [True, False])
def test_both_labels(score, as_meta):
    kind = dict(score=score, as_meta=as_meta)
    found = evaluate(
        [
            sample(0, 0, 1, **kind),  # random
            sample(1, 1, 2, **kind),  # random
            sample(2, 2, 2, **kind),  # both
            sample(3, 0, 3, **kind),  # true
            sample(3, 1, 2, **kind),  # neither
        ]
    )
    assert found["random_label/top1"] == pytest.approx(60)
    assert found["true_label/top1"] == pytest.approx(40)
    assert found.get("chance") == (25 if score else None)


def test_images_without_a_true_label_are_left_out():
    found = evaluate([sample(0, 0, 0), sample(1, 0), sample(1, 0, 2)])
    assert found["true_label/top1"] == pytest.approx(50)
    assert found["random_label/top1"] == pytest.approx(100 / 3)


def test_labels_of_another_objective_are_named_and_no_guess_at_the_true_one():
    found = evaluate([sample(0, 0, 0), sample(1, 0, 1)], label="rotation_label")
    assert found == {"rotation_label/top1": 50.0, "chance": 25.0}


def test_without_any_true_label_the_number_is_absent():
    assert set(evaluate([sample(0, 0), sample(1, 0)])) == {
        "random_label/top1",
        "chance",
    }


def test_true_label_of_zero_counts():
    assert evaluate([sample(0, 1, 0), sample(1, 1, 0)])["true_label/top1"] == 50


def test_no_warning_about_a_missing_prefix_and_a_prefix_can_be_set(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluator = Evaluator([dict(type="lbbt_mm.BridgeAccuracy", prefix="train")])
    assert "prefix" not in capsys.readouterr().out
    evaluator.process([sample(0, 0)])
    assert "train/random_label/top1" in evaluator.evaluate(1)


def test_missing_and_multiple_labels_are_refused():
    evaluator = Evaluator([dict(type="lbbt_mm.BridgeAccuracy")])
    with pytest.raises(ValueError, match="expects `gt_label`.*RandomLabelDataset"):
        evaluator.process([BaseDataElement(pred_score=torch.ones(4))])
    several = BaseDataElement(pred_score=torch.ones(4), gt_label=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="one gt_label per image, got 2"):
        evaluator.process([several])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_scores_that_are_no_numbers_are_no_class(bad):
    """argmax of NaN is its place: a diverged model looked like one at chance."""
    lost = [sample(0, 0, 0), sample(1, 0, 0)]
    for one in lost:
        one.pred_score[0] = bad
    found = evaluate([*lost, sample(2, 2, 1)])
    assert found["not_finite"] == 2 and found["chance"] == 25
    assert found["random_label/top1"] == pytest.approx(100 / 3)
    assert found["true_label/top1"] == 0
    low = sample(1, 1)
    low.pred_score = torch.tensor([-torch.inf, 0, -1, -2])
    assert evaluate([low])["random_label/top1"] == 100
