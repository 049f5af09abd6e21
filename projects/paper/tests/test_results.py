"""results.py: the page holds what the logs say, and notices when it does not."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
RESULTS = "projects/paper/results.py"
TEMPLATE = """# Results

<!-- table when -->

<!-- grid when probe_after -->

<!-- figure when variants -->

<!-- made when -->
"""


def record(initialisation: str, lr: float, train_acc: float, probe: float) -> dict:
    return dict(
        name=f"base_{initialisation}_{lr}",
        variant="base",
        initialisation=initialisation,
        seed=0,
        point=dict(lr=lr),
        metrics=dict(train_acc=train_acc, probe_before=50.0, probe_after=probe),
        curves=dict(train_acc={"1": 20.0, "2": train_acc}),
        seconds=60,
        environment=dict(
            device="a processor",
            cpus=2,
            threads="1",
            torch="2",
            lbbt_mm="0",
            commit="abc",
        ),
    )


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "results").mkdir()
    (tmp_path / "results.template.md").write_text(TEMPLATE)
    runs = [
        record("language", 1e-4, 90.0, 60.5),
        record("language", 2e-4, 80.0, 61.5),
        record("scratch", 1e-4, 70.0, 62.5),
    ]
    log = dict(plan="projects/paper/configs/sweeps/fashion-mnist_when.py", runs=runs)
    (tmp_path / "results" / "when.json").write_text(json.dumps(log))
    return tmp_path


def test_the_page_is_made_of_the_logs_and_checked(tool, docs: Path) -> None:
    module = tool(RESULTS, "--home", docs)
    module.main()
    page = (docs / "results_archive.md").read_text()
    assert "| base, language | 0.0001 | 90.0 | 50.0 | 60.5 | 2.0 |" in page
    assert "| base, language | 60.5 | 61.5 |" in page
    assert "3 runs, seeds 0, 3 minutes in all, commit abc" in page
    picture = re.search(r"\((images/\S+\.png)\)", page)[1]
    assert (docs / picture).stat().st_size > 1000

    check = tool(RESULTS, "--home", docs, "--check")
    check.main()
    (docs / "results_archive.md").write_text(page.replace("90.0", "99.0"))
    with pytest.raises(SystemExit, match="not what the logs say"):
        check.main()


@pytest.mark.parametrize("plan", ["plan.py", "../plan.py"])
def test_a_log_names_no_code_to_run(tool, docs: Path, plan: str) -> None:
    path = docs / "results" / "when.json"
    evil = docs / "plan.py"
    evil.write_text(f"open({str(docs / 'code-ran')!r}, 'w')")
    named = str(evil) if plan == "plan.py" else f"configs/../{'../' * 20}{evil}"
    path.write_text(json.dumps(dict(json.loads(path.read_text()), plan=named)))
    with pytest.raises(
        SystemExit, match=r"expected a plan of projects/\*/configs/sweeps/, got"
    ):
        tool(RESULTS, "--home", docs).main()
    assert not (docs / "code-ran").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(
            ("name", "initialisation", "point", "metrics"),
            (None, [], 3, {"a": []}, True),
        ),
        # Of a machine anything may be said.
        *itertools.product(("environment",), (None, [], 3, True)),
    ],
)
def test_a_log_of_another_shape_is_one_sentence(tool, docs: Path, key, value) -> None:
    path = docs / "results" / "when.json"
    log = json.loads(path.read_text())
    log["runs"][1][key] = value
    path.write_text(json.dumps(log))
    with pytest.raises(SystemExit, match=f"when.json.*{key}"):
        tool(RESULTS, "--home", docs).main()


def test_a_missing_log_is_named(tool, docs: Path) -> None:
    (docs / "results.template.md").write_text("<!-- table never -->\n")
    with pytest.raises(SystemExit, match="names never, but .*never.json"):
        tool(RESULTS, "--home", docs).main()


def test_the_shipped_page_is_what_the_logs_say(tool) -> None:
    tool(RESULTS, "--check").main()


def test_the_shipped_report_is_what_its_runs_say(
    monkeypatch: pytest.MonkeyPatch, undrawn
) -> None:
    """Every word and number; panels, date and classes of the style may differ."""
    from paper.page import LEAD, TITLE, build_sections

    from lbbt_mm.report.report_page import build_page
    from lbbt_mm.runs.find import gather

    monkeypatch.chdir(ROOT)
    found = gather([ROOT / "projects/paper/report/runs"])
    sections = build_sections(found)
    assert not found.problems and sum(len(s.charts) for s in sections) > 20
    made = build_page(sections, "", TITLE, [LEAD])
    shipped = Path("projects/paper/report/index.html").read_text(encoding="utf-8")
    words = []
    for page in (made, shipped):
        page = re.sub(r"<(style|svg)\b.*?</\1>|Made on [^<]*", "", page, flags=re.S)
        page = page.replace(str(ROOT) + "/", "")
        words.append(re.sub(r"<[^>]*>|\s+", " ", page).split())
    assert words[0] == words[1]
    for path in Path("projects/paper/report").rglob("*"):
        assert not path.is_file() or path.stat().st_size < 1_250_000
