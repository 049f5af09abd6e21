"""Choosing hyper-parameters, averaging over seeds, and the tables of a sweep."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from paper.choice import (
    Selection,
    chosen_table,
    epochs_to,
    grid_table,
    select,
)
from paper.sweep_figures import (
    bridge_figure,
    few_labels_figure,
    questions_figure,
    score_figure,
    variants_figure,
)

from lbbt_mm.report.tables import interval
from lbbt_mm.runs import shapes
from lbbt_mm.runs.log import BridgeCurve
from lbbt_mm.runs.run import Run, run_from_sweep


def finished(start: str, seed: int = 0, variant: str = "v", **fields) -> Run:
    fields |= dict(variant=variant, initialisation=start, seed=seed)
    return Run(Path("runs"), "n", **fields)


def run(start: str, lr: float, train_acc: float, seed: int = 0, **metrics) -> Run:
    return finished(
        start,
        seed,
        "base",
        point=dict(lr=lr),
        metrics=dict(train_acc=train_acc, **metrics),
        curve=BridgeCurve({1: train_acc / 2, 2: train_acc}),
    )


RUNS = [
    run("language", 0.1, 90.0, probe_after=50.0, probe_before=60.0),
    run("language", 0.2, 40.0, probe_after=70.0, probe_before=60.0),
    run("scratch", 0.1, 30.0, probe_after=55.0, probe_before=65.0),
    run("scratch", 0.2, 80.0, probe_after=45.0, probe_before=65.0),
]


def test_an_inexact_copy_is_in_the_name_of_its_result() -> None:
    record = dict(name="n", variant="v", arm="language", seed=0, point={}, metrics={})
    names = ("gpt2", "gpt2 (inexact: norm_order)")
    runs = [
        run_from_sweep(shapes.RUN(dict(record, language_init=name), ""), Path("r.json"))
        for name in names
    ]
    assert [row[0] for row in chosen_table(runs, Selection()).rows] == [
        "v, language",
        "v, language (inexact: norm_order)",
    ]


def points(selection: Selection, runs=RUNS) -> dict[str, float]:
    return {key[2]: value[0][0] for key, value in select(runs, selection).items()}


def test_each_initialisation_chooses_for_itself_or_one_for_all() -> None:
    each = Selection(over=("lr",), metric="train_acc", by="each")
    assert points(each) == dict(language=0.1, scratch=0.2)
    baseline = Selection(over=("lr",), metric="train_acc", by="scratch")
    assert points(baseline) == dict(language=0.2, scratch=0.2)


def test_the_mean_over_seeds_chooses() -> None:
    lucky = run("scratch", 0.1, 95.0, seed=1)  # mean 62.5, below the other's 80
    unlucky = run("scratch", 0.2, 80.0, seed=1)
    chosen = points(Selection(over=("lr",), by="each"), [*RUNS, lucky, unlucky])
    assert chosen["scratch"] == 0.2


def test_a_run_without_the_metric_never_wins() -> None:
    nan = run("scratch", 0.3, math.nan)
    assert points(Selection(over=("lr",)), [*RUNS, nan])["scratch"] == 0.2


@pytest.mark.parametrize("metric", ["probe_after", "test"])
def test_test_images_do_not_choose(metric: str) -> None:
    with pytest.raises(ValueError, match="measured on the test images"):
        Selection(over=("lr",), metric=metric)


def test_intervals() -> None:
    assert str(interval([50.0])) == "50.0"
    assert str(interval([40.0, 60.0])) == "50.0 [40.0, 60.0]"
    # Student's t of 2 degrees of freedom: 4.303 x 1 / sqrt(3)
    three = interval([49.0, 50.0, 51.0])
    assert three.mean == 50.0
    assert three.high - 50 == pytest.approx(4.303 / math.sqrt(3))
    with pytest.raises(ValueError, match="at least one seed"):
        interval([])


def test_epochs_to_an_accuracy() -> None:
    curve = {1: 10.0, 2: 55.0, 3: 50.0, 4: 80.0}
    assert epochs_to(curve, 50) == 2
    assert epochs_to(curve, 90) is None


def test_tables_say_what_was_chosen_and_how() -> None:
    selection = Selection(over=("lr",), by="scratch")
    text = chosen_table(RUNS, selection, thresholds=[60]).to_text()
    assert "lr chosen by scratch alone" in text
    language, scratch = text.splitlines()[2:4]
    assert language.split() == "base, language 0.2 40.0 60.0 70.0 never".split()
    assert scratch.split() == "base, scratch 0.2 80.0 65.0 45.0 2.0".split()
    grid = grid_table(RUNS, selection, "train_acc").to_text().splitlines()
    assert grid[0].split() == ["lr", "0.1", "0.2"]
    assert grid[2].split() == ["base,", "language", "90.0", "40.0"]


def test_markdown_table() -> None:
    lines = grid_table(RUNS, Selection(over=("lr",)), "train_acc").to_markdown()
    assert lines.splitlines()[:3] == [
        "| lr | 0.1 | 0.2 |",
        "| ---|---:|---: |",
        "| base, language | 90.0 | 40.0 |",
    ]


def test_pictures_are_drawn(tmp_path: Path) -> None:
    bridge_figure(RUNS, 10.0, tmp_path / "bridge.png")
    variants_figure(RUNS, Selection(over=("lr",)), tmp_path / "variants.png")
    metrics = dict(probe_before="frozen", test="fine-tuned")
    few_labels_figure(RUNS, dict(base=100), metrics, tmp_path / "labels.png")
    assert len(list(tmp_path.glob("*.png"))) == 3


@pytest.fixture
def drawn(monkeypatch) -> list:
    """The figures that are drawn, in place of their files."""
    from matplotlib.figure import Figure

    found = []

    def savefig(self, path, **_):
        found.append(self)
        path.touch()

    monkeypatch.setattr(Figure, "savefig", savefig)
    return found


def test_scores_are_drawn_for_each_kind_of_layers(tmp_path: Path, drawn) -> None:
    runs = [
        finished(start, seed, curve=BridgeCurve(scores=dict(ap={1: 1, 2: 2 + seed})))
        for start in ("MiniLM, stock", "scratch, stock", "GPT-2, pre-norm")
        for seed in (0, 1)
    ]
    path = tmp_path / "scores.png"
    score_figure(runs, "ap", path, constant=0.1)
    score_figure([run for run in runs if "stock" in run.initialisation], "ap", path)
    assert [len(figure.axes) for figure in drawn] == [2, 1], "a panel each"


def test_questions_are_drawn_by_type_beside_the_blind_ones(
    tmp_path: Path, drawn
) -> None:
    kinds = dict(qa=60.0, qa_what=40.0, shuffled=30.0, shuffled_what=9.0)
    runs = [
        finished(start, seed, metrics={k: v + seed for k, v in kinds.items()})
        for start in ("language", "scratch")
        for seed in (0, 1)
    ]
    questions_figure(runs, tmp_path / "q.png", dict(qa=19.0, qa_what=10.0))
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["all", "what"]
    (legend,) = drawn[0].legends
    assert {text.get_text() for text in legend.get_texts()} == {
        *("language", "language, images shuffled"),
        *("scratch", "scratch, images shuffled"),
        "the type's commonest answer",
    }
    dots = [tuple(line.get_ydata()) for line in axes.lines]
    # Initialisations, seeds, kinds, blind or not; and the lines.
    assert len(dots) == 2 * 2 * 2 * 2 + 2
    assert {(61.0,), (31.0,), (41.0,), (10.0,), (19.0, 19.0)} <= set(dots)


def test_the_constant_answer_is_the_last_row() -> None:
    runs = [finished("language", metrics=dict(ap=5.0, ap50=9.0))]
    table = chosen_table(runs, Selection(), constant=dict(ap=0.1))
    assert table.headings == ["run", "AP", "AP50"]
    assert table.rows[-1] == ["the same answer for every image", "0.1", ""]
    assert chosen_table(runs, Selection()).rows[-1][0] == "v, language"
