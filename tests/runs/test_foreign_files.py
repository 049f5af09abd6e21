"""Files of runs are data from strangers: each is used as it should be, or named."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lbbt_mm.report.collect import collect
from lbbt_mm.report.page import write_charts
from lbbt_mm.report.report_page import build_page, build_sections
from lbbt_mm.report.tables import Table
from lbbt_mm.runs import shapes
from lbbt_mm.runs.find import gather
from lbbt_mm.safety.dumped_config import read_dumped_config

SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
VALUES = [
    *(None, [], {}, "", SCRIPT, True, -1, 0, 10**400, 1e308, float("nan")),
    *(float("-inf"), [[[]]], [None, "x", {}], {"a": {"b": [1]}}, "../..", "a\nrm -rf"),
]


def short(value: Any) -> str:
    """Name a test."""
    return getattr(value, "__name__", repr(value)[:12])


def places(value: Any) -> Iterator[tuple]:
    """List the path of every value in a JSON value, at most three of a list."""
    yield ()
    if isinstance(value, dict):
        keys = list(value)
    else:
        keys = list(range(min(3, len(value)))) if isinstance(value, list) else []
    for key in keys:
        for rest in places(value[key]):
            yield (key, *rest)


def mutated(content: Any, place: tuple, change: Any) -> Any:
    """Change one value; delete its key where the change is the type `del`."""
    if not place:
        return None if change is places else change
    content = copy.deepcopy(content)
    here = content
    for key in place[:-1]:
        here = here[key]
    if change is places:
        del here[place[-1]]
    else:
        here[place[-1]] = change
    return content


@pytest.fixture(autouse=True)
def _undrawn(undrawn) -> None:
    """What the panels do with any number is tested with them."""


class NoScripts(HTMLParser):
    def handle_starttag(self, tag: str, attrs: list) -> None:
        assert tag not in ("script", "img")
        assert not any(name.startswith("on") for name, _ in attrs)


def page_and_problems(folder: Path) -> tuple[str, list[str]]:
    found = gather([folder])
    sections = build_sections(found)
    return build_page(sections, "made by a test"), found.problems


def cut(value: Any) -> Any:
    """Cut all lists: of a hundred points each is like the next."""
    if isinstance(value, dict):
        return {key: cut(one) for key, one in value.items()}
    return [cut(one) for one in value[:4]] if isinstance(value, list) else value


def kinds(work_dir) -> list[Path]:
    """Write one run with all its measurements; give a file of each kind."""
    run = work_dir.run()
    for name, make in work_dir.results.items():
        work_dir.measure(run, name, cut(make(1)))
    files = ["result.json", "settings.json", "linear_probe.json"]
    for name, content in (
        ("cost.json", dict(images=1, steps=2, flops=1e9)),
        ("test.json", {"accuracy/top1": 12.5, "data_time": 0.1}),
    ):
        work_dir.json(run / name, content)
        files.append(name)
    return [*(run / name for name in files), *sorted(run.glob("analysis/*/*.json"))]


SHAPES = {
    "result.json": shapes.RUN,
    "settings.json": shapes.SETTINGS,
    "linear_probe.json": shapes.PROBE,
    "cost.json": shapes.COST,
    "test.json": shapes.SCORES,
}


@pytest.mark.parametrize("change", [*VALUES, places], ids=short)
def test_every_value_of_every_file_may_be_anything(work_dir, change) -> None:
    refused = []
    for path in kinds(work_dir):
        shape = SHAPES.get(path.name, shapes.record)
        content = json.loads(path.read_text())
        for place in list(places(content))[1:]:
            try:
                edited = json.loads(json.dumps(mutated(content, place, change)))
                shapes.check(edited, shape)
            except ValueError as error:
                assert "\n" not in str(error) and len(str(error)) < 300
                refused.append((path, place))
            except (KeyError, TypeError, IndexError):
                pass  # the value to be changed is gone already
            else:
                content = edited  # it stays, with all others that passed
        path.write_text(json.dumps(content))
    page, problems = page_and_problems(work_dir.folder)
    NoScripts().feed(page)
    # And a refusal is on the page, with the file's name.
    for path, place in refused[-1:]:
        whole = path.read_text()
        edited = mutated(json.loads(whole), place, change)
        path.write_text(json.dumps(edited))
        page, problems = page_and_problems(work_dir.folder)
        assert any(str(path) in problem for problem in problems)
        assert str(path) in page
        path.write_text(whole)


BAD = {
    "empty": b"",
    "half": b'{"name": "a',
    "not UTF-8": b'{"name": "\xff\xfe"}',
    "a list": b"[1]",
    "deep": b"[" * 100_000,
    "NUL": b"\0" * 100,
    "huge digits": b'{"seed": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("bad", [*BAD, "folder", "link", "loop", "pipe"])
def test_bad_files_are_named(work_dir, bad, tmp_path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"last_test_top1": 1.0, "metrics": {}, "name": "secret"}')
    for path in kinds(work_dir):
        whole = path.read_bytes()
        path.unlink()
        if bad == "folder":
            path.mkdir()
        elif bad == "link":
            path.symlink_to(secret)
        elif bad == "loop":
            path.symlink_to(path)
        elif bad == "pipe":
            os.mkfifo(path)
        else:
            path.write_bytes(BAD[bad])
        found = gather([work_dir.folder])
        said = [problem for problem in found.problems if str(path) in problem]
        assert len(said) == 1 and "\n" not in said[0], (path, found.problems)
        if bad == "link":
            collect(found, tmp_path / "copies")
        if bad == "folder":
            path.rmdir()
        else:
            path.unlink()
        path.write_bytes(whole)
    copied = [p.read_text() for p in (tmp_path / "copies").rglob("*.json")]
    assert bool(copied) == (bad == "link")
    assert not any("secret" in text for text in copied)


@pytest.mark.parametrize("name", ["result.json", "settings.json"])
def test_another_programs_file_is_named_and_makes_no_run(work_dir, name) -> None:
    work_dir.run()
    (folder := work_dir.folder / ".editor").mkdir()
    content = {"name": "a-package", "version": "1.0.0", "editor.fontSize": 12}
    (folder / name).write_text(json.dumps(content))
    found = gather([work_dir.folder])
    assert [run.name for run in found.runs if run.folder == folder] == []
    assert len(found.runs) == 1
    (problem,) = found.problems
    assert f"{folder / name} is left out: " in problem and "is missing" in problem


@pytest.mark.parametrize("name", ["config.py", "last_checkpoint", "scalars.json"])
@pytest.mark.parametrize("content", [*BAD.values(), b"[1]\n", b"a = (\n", b"{}\n"])
def test_bad_texts(work_dir, name, content) -> None:
    run = work_dir.run(finished=False)
    for path in [run / name, *run.rglob(name)]:
        path.write_bytes(content)
    for path in run.rglob("vis_data/config.py") if name == "config.py" else ():
        path.write_bytes(content)
    page, _ = page_and_problems(work_dir.folder)
    NoScripts().feed(page)


@pytest.mark.parametrize("change", [*VALUES, 3.5, (1, 2), {1, 2}, b"x"], ids=short)
def test_configs_of_any_content(work_dir, change) -> None:
    run = work_dir.run()
    config = read_dumped_config(run / "config.py")
    (log,) = run.rglob("vis_data/config.py")
    for place in list(places(config))[1:]:
        edited = mutated(config, place, change)
        text = "".join(f"{key} = {value!r}\n" for key, value in edited.items())
        log.write_text(text)
        gather([work_dir.folder])
    page, _ = page_and_problems(work_dir.folder)
    NoScripts().feed(page)


@pytest.mark.parametrize("change", VALUES, ids=short)
def test_results_of_a_sweep(work_dir, tmp_path, change) -> None:
    run = json.loads((work_dir.run() / "result.json").read_text())
    run["metrics"] = dict(train_acc=1.0)
    whole = dict(plan="configs/sweeps/a.py", runs=[run])
    path = tmp_path / "sweep" / "results.json"
    path.parent.mkdir()
    for place in list(places(whole))[1:]:
        path.write_text(json.dumps(mutated(whole, place, change)))
        try:
            found = gather([path.parent])
        except ValueError as error:
            assert "Nothing to report" in str(error)
            continue
        for one in found.runs:
            assert one.folder.resolve().is_relative_to(path.parent.resolve())
    assert not (tmp_path.parent / "copies").exists()


# -------------------------------------------------------------- paths out of the data


@pytest.mark.parametrize("before", ["/etc", "../elsewhere", "..", ".", "a/b", "a\\b"])
def test_a_copy_holds_what_lies_beside(work_dir, tmp_path, before) -> None:
    run = work_dir.run()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.py").write_text("secret = 1")
    if before == "/etc":
        before = str(elsewhere)
    content = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps(dict(content, before=before)))
    found = gather([work_dir.folder])
    (problem,) = found.problems
    assert "before should be the plain name of a file or folder, got" in problem
    files = collect(found, tmp_path / "copies" / "inner")
    assert files and not any("secret" in path.read_text() for path in files)
    inner = (tmp_path / "copies" / "inner").resolve()
    assert all(path.resolve().is_relative_to(inner) for path in files)
    assert [p.name for p in (tmp_path / "copies").iterdir()] == ["inner"]


def test_nor_by_the_name_of_a_sweeps_run_or_by_a_link(work_dir, tmp_path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "config.py").write_text("secret = 1")
    run = work_dir.run()
    record = json.loads((run / "result.json").read_text())
    record = dict(record, name="../../../elsewhere", metrics={})
    sweep = dict(plan="a.py", runs=[record])
    (work_dir.folder / "results.json").write_text(json.dumps(sweep))
    (run / "cost.json").symlink_to(elsewhere / "config.py")
    (work_dir.folder / "before_language_s0" / "config.py").unlink()
    (work_dir.folder / "before_language_s0" / "config.py").symlink_to(
        elsewhere / "config.py"
    )
    (work_dir.folder / "linked").symlink_to(elsewhere)
    found = gather([work_dir.folder])
    assert any("runs[0].name should be the plain name" in p for p in found.problems)
    files = collect(found, tmp_path / "copies")
    assert files and not any("secret" in path.read_text() for path in files)


def test_commands_on_the_page_are_one_word_a_word(work_dir, monkeypatch) -> None:
    run = work_dir.run(probe=None)
    monkeypatch.chdir(work_dir.folder)
    nasty = "x.py; rm -rf ~ #\nrm -rf ~"
    for name in ("settings.json", "result.json"):
        content = json.loads((run / name).read_text())
        content["settings" if "settings" in content else "config"] = (
            dict(config=nasty) if "settings" in content else nasty
        )
        (run / name).write_text(json.dumps(content))
    for path in [run / "config.py", *run.rglob("config.py")]:
        path.unlink(missing_ok=True)
    Path(nasty.replace("\n", " ")).touch()
    page, _ = page_and_problems(work_dir.folder)
    lines = [line for line in page.splitlines() if "rm -rf" in line]
    assert any("python tools/" in line for line in lines)
    for line in lines:
        assert not line.startswith("rm -rf")
        if "python tools/" in line:
            assert "&#39;x.py; rm -rf ~ # rm -rf ~&#39;" in line
    write_charts(work_dir.folder / "charts", build_sections(gather([work_dir.folder])))


def test_a_document_gets_no_tags_out_of_the_data() -> None:
    table = Table([SCRIPT, "a|b"], [[SCRIPT, "1"]], SCRIPT, heads=[(SCRIPT, 1)])
    text = table.to_markdown()
    assert "<script" not in text and "<img" not in text and "a\\|b" in text
