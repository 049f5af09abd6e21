"""The benchmark compares what it says, in turns, and its page is what was measured."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = [path.stem for path in (ROOT / "benchmarks").glob("*.py")]


@pytest.fixture
def bench(monkeypatch):
    """The modules of benchmarks/ by name, imported for this test alone."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
    names = ("measure", "run", "loading", "linear_probe")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in MODULES:
        sys.modules.pop(name, None)


def fake(bench, log: list[str], goal: str = ">= 2", values=(1.0, 1.0), **options):
    """A case whose baseline takes 4 seconds and ours 1, 2 and 4."""
    ours = iter([100.0, 1.0, 2.0, 4.0])  # the first round warms up

    def arm(name: str, seconds, value: float):
        def step():
            log.append(name)
            return bench.measure.Spent(next(seconds), 1.0, value=value)

        return lambda: step

    arms = dict(
        baseline=arm("baseline", iter([100.0, 4.0, 4.0, 4.0]), values[0]),
        ours=arm("ours", ours, values[1]),
    )
    return bench.measure.Case("fake", "a baseline", goal, arms, **options)


def test_arms_take_turns_and_rounds_are_compared(bench) -> None:
    log: list[str] = []
    found = bench.measure.measure("row", fake(bench, log), rounds=3)
    assert log == ["baseline", "ours"] * 4
    assert found["ratio_cpu"] == [2, 1, 4] and found["ratio_wall"] == [1, 1, 1]
    assert found["seconds"]["ours"]["cpu"] == [2, 1, 4]
    share = bench.measure.measure("row", fake(bench, [], "<= 0.5", factor=2), 3)
    assert share["ratio_cpu"] == [0.25, 0.125, 0.5]
    assert json.loads(json.dumps(found)) == found


def test_other_results_are_not_compared(bench) -> None:
    case = fake(bench, [], values=(1.0, 1.1), tolerance=0.05)
    with pytest.raises(SystemExit, match=r"ours returns 1.1, the baseline 1.0"):
        bench.measure.measure("row", case, 3)
    case = fake(bench, [], values=(1.0, 1.1), tolerance=0.2)
    assert bench.measure.measure("row", case, 3)["rounds"] == 3


@pytest.mark.parametrize(
    "goal, met",
    [(">= 2", "met"), (">= 2.1", "**missed**"), ("<= 2 s", "met"), ("", "")],
)
def test_missed_goals_are_marked(bench, goal, met) -> None:
    found = bench.measure.measure("row", fake(bench, [], goal), 3)
    *_, line = bench.run.table([found]).splitlines()
    assert line.startswith("| fake | 2.00 s | 4.00 s | ")
    assert line.endswith(f"| {goal} | {met} |")


def test_every_row_is_there_and_names_its_baseline(bench) -> None:
    cases = [case for row in bench.run.ROWS for case in bench.run.cases_of(row)]
    assert len({case.name for case in cases}) == len(cases)
    for case in cases:
        assert case.baseline and set(case.arms) == {"baseline", "ours"}
        for goal in filter(None, (case.goal, case.before, case.memory)):
            assert bench.run.meets(goal, 1, 1) in (True, False)
    # The shipped setting is shown first.
    assert cases[0].name.startswith("the quickstart's")


def test_the_page_is_what_was_measured(bench) -> None:
    page = bench.run.PAGE.read_text(encoding="utf-8")
    if not bench.run.RESULTS.exists():  # nor is there a number on the page
        assert f"{bench.run.BEGIN}\n{bench.run.END}" in page
        return
    stored = json.loads(bench.run.RESULTS.read_text(encoding="utf-8"))
    assert bench.run.page(stored, page) == page
    assert {one["row"] for one in stored["rows"]} == set(bench.run.ROWS)


FAKE = "def redraw_labels(*args): return [[7]]"


@pytest.mark.slow
def test_ours_is_measured_in_another_checkout(bench, tmp_path) -> None:
    other = tmp_path / "lbbt_mm" / "datasets"
    other.mkdir(parents=True)
    for path in (other.parent / "__init__.py", other / "__init__.py"):
        path.touch()
    (other / "random_label.py").write_text(FAKE)
    case = bench.loading.label_cases()[0]
    with bench.measure.built("labels", case, tmp_path) as arms:
        assert list(arms) == ["baseline", "ours", "before"]
        assert arms["before"]().value == 7 and arms["ours"]().value != 7


@pytest.mark.slow
def test_a_probe_and_the_loop_that_it_saves_reach_the_same(bench, monkeypatch) -> None:
    monkeypatch.setattr(bench.linear_probe, "IMAGES", 40)
    monkeypatch.setattr(bench.linear_probe, "EPOCHS", 20)
    (case,) = bench.linear_probe.cases()
    case.tolerance = 0.15
    found = bench.measure.measure("linear-probe", case, 1)
    assert found["ratio_cpu"][0] > 2
    assert found["said"].keys() == {"baseline", "ours"}
    assert "s, test top-1 " in bench.run.table([found])
