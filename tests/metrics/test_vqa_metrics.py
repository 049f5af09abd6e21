"""Hand-worked cases of the public evaluators' rules."""

from __future__ import annotations

import json

import pytest
from mmengine.registry import METRICS as ROOT
from mmengine.structures import BaseDataElement

from lbbt_mm.metrics.constant_baseline import CommonestAnswers
from lbbt_mm.metrics.vqa_rules import (
    CONTRACTIONS,
    exact_score,
    gqa_score,
    normalise,
    option_letter,
    ten_answer_score,
)


def test_normalisation() -> None:
    table = [
        ("The Cat", "cat"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("a man, an apple and the tree?", "man apple and tree"),
        ("10,000", "10000"),
        ("3.5", "3.5"),
        ("Yes.", "yes"),
        ("1. first", "1 first"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("dog's bowl", "dog 's bowl"),
        ("t-shirt", "t shirt"),
        ("red - blue-green", "red bluegreen"),  # one '-' beside a space: all go
        ("yes\nno\tmaybe", "yes no maybe"),
        (" (left) ", "left"),
        ("", ""),
    ]
    for answer, form in table:
        assert normalise(answer) == form, answer


def test_contractions_are_those_of_the_public_table() -> None:
    assert CONTRACTIONS["y'alld've"] == "y'all'd've"
    assert CONTRACTIONS["'ows'at"] == "'ow's'at"
    for kept in ("lets", "shes", "shed", "wed", "id", "hell"):
        assert kept not in CONTRACTIONS


def test_ten_answers() -> None:
    # Three match: seven times 3/3 without another, three times 2/3 without one of them.
    for matches, score in ((0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)):
        answers = ["Two"] * matches + [f"other {i}" for i in range(10 - matches)]
        assert ten_answer_score("2.", answers) == pytest.approx(score)


def test_ten_answers_need_more_than_three() -> None:
    with pytest.raises(ValueError, match="ten answers .* got 3; use rule='exact'"):
        ten_answer_score("a", ["a"] * 3)


def test_gqa_does_not_normalise_further() -> None:
    assert gqa_score("Yes..", ["yes"]) == 1
    assert gqa_score("the cat", ["cat"]) == 0
    assert exact_score("the cat", ["cat"]) == 1


def test_option_letters() -> None:
    table = [
        ("A", "A"),
        (" B ", "B"),
        ("A.", "A"),
        ("C. Rhode Island", "C"),
        ("(D)", "D"),
        ("(A) Maryland", "A"),
        ("B\nbecause", "B"),
        ("Because it is. The answer is C.", "C"),
        ("The answer is E", "E"),
        ("the answer is (B).", "B"),
        ("A cat", None),
        ("Banana", None),
        ("The answer is Banana", None),
        ("F", None),
        ("", None),
    ]
    for text, letter in table:
        assert option_letter(text) == letter, text


def run(config: dict, samples: list[dict]) -> dict[str, float]:
    metric = ROOT.build(config)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


def sample(said: str, answers: list[str], kind: str = "", **more) -> dict:
    known = dict(sample_id=f"q{said}{kind}", question_type=kind, answers=answers)
    return dict(known, pred_answer=said, **more)


def test_accuracy_by_type() -> None:
    samples = [
        sample("2", ["two"], "count"),
        sample("3", ["two"], "count"),
        sample("Left.", ["left"], "where"),
        sample("x", ["y"]),
    ]
    assert run(dict(type="lbbt_mm.VQAMetric", rule="exact"), samples) == {
        "vqa/accuracy": 50,
        "vqa/accuracy/count": 50,
        "vqa/accuracy/where": 100,
        "vqa/questions": 4,
    }


def test_scienceqa_counts_what_it_cannot_use() -> None:
    two = dict(choices=["x", "y"])
    samples = [
        sample("(A)", ["A"], "language science", **two),
        sample("C", ["B"], "social science", **two),
        sample("no idea", ["B"], "social science", **two),
        sample("B. y", ["B"], "social science", **two),
    ]
    scores = run(dict(type="lbbt_mm.ScienceQAMetric"), samples)
    assert scores["scienceqa/accuracy"] == 50
    assert scores["scienceqa/accuracy/language science"] == 100
    assert scores["scienceqa/accuracy/social science"] == pytest.approx(100 / 3)
    assert scores["scienceqa/unparsed"] == scores["scienceqa/out_of_range"] == 1


def test_scienceqa_names_the_accuracy_on_questions_with_an_image() -> None:
    """LLaVA's IMG-Acc; the questions without one are two thirds of the test set."""
    samples = [
        sample("A", ["A"], "a", img_paths=["1.png"]),
        sample("A", ["B"], "b", img_paths=["2.png"]),
        sample("B", ["B"], "c", img_paths=[]),
    ]
    scores = run(dict(type="lbbt_mm.ScienceQAMetric"), samples)
    assert scores["scienceqa/accuracy"] == pytest.approx(200 / 3)
    assert scores["scienceqa/accuracy/image"] == 50
    assert scores["scienceqa/questions/image"] == 2
    scores = run(dict(type="lbbt_mm.ScienceQAMetric"), samples[2:])
    assert "scienceqa/accuracy/image" not in scores


def test_what_was_not_asked_is_wrong() -> None:
    missed = sample("", [""], unanswered="too long")
    scores = run(dict(type="lbbt_mm.VQAMetric", rule="exact"), [missed])
    assert scores["vqa/accuracy"] == 0 and scores["vqa/unanswered"] == 1


def test_answers_go_into_a_file_with_their_scores(tmp_path) -> None:
    out = tmp_path / "answers.json"
    config = dict(type="lbbt_mm.VQAMetric", rule="exact", out_file=str(out))
    right = dict(sample("Boot", ["boot"]), sample_id="b", img_paths=["x.png"])
    wrong = dict(sample("bag", ["boot"]), sample_id="a", question="What is this?")
    assert run(config, [right, wrong])["vqa/accuracy"] == 50
    first, second = json.loads(out.read_text(encoding="utf-8"))
    assert first["sample_id"] == "a" and first["question"] == "What is this?"
    assert (first["said"], first["score"]) == ("bag", 0.0)
    assert (second["img_paths"], second["score"]) == (["x.png"], 1.0)


def test_mmvet_writes_the_submission(tmp_path) -> None:
    out = tmp_path / "deep" / "mine.json"
    config = dict(type="lbbt_mm.MMVetSubmission", out_file=str(out))
    first = dict(sample("-1 und -5 ü", ["-1 <AND> -5"]), sample_id="v1_0")
    second = dict(sample("", ["x"]), sample_id="v1_1")
    assert run(config, [first, second]) == {"mmvet/questions": 2, "mmvet/empty": 1}
    said = json.loads(out.read_text(encoding="utf-8"))
    assert said == {"v1_0": "-1 und -5 ü", "v1_1": ""}
    assert [p.name for p in out.parent.iterdir()] == ["mine.json"]


@pytest.mark.parametrize("missing", ["pred_answer", "answers", "sample_id"])
def test_a_sample_that_lacks_something(missing: str) -> None:
    samples = [{k: v for k, v in sample("a", ["a"]).items() if k != missing}]
    with pytest.raises(ValueError, match="VQAMetric expects a text 'pred_answer'"):
        run(dict(type="lbbt_mm.VQAMetric"), samples)


def test_no_such_rule() -> None:
    with pytest.raises(ValueError, match=r"rule: expected one of .* got 'five'"):
        ROOT.build(dict(type="lbbt_mm.VQAMetric", rule="five"))


def test_commonest_answers_of_each_type() -> None:
    asked = [("where", "left"), ("where", "top"), ("where", "top"), ("what", "bag")]
    asked += [("what", "bag"), ("what", "bag")]

    class Questions(list):
        def get_data_info(self, number):
            kind, answer = self[number]
            return dict(question_type=kind, answers=[answer])

    blind = CommonestAnswers(Questions(asked))
    samples = [BaseDataElement(metainfo=dict(question_type=t)) for t in ("where", "x")]
    assert [s.pred_answer for s in blind.predict(samples)] == ["top", "bag"]
