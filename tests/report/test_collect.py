"""Copies of runs: enough for the same page, and nothing of the machine."""

from __future__ import annotations

from lbbt_mm.report.collect import collect, without_machine
from lbbt_mm.report.report_page import build_page, build_sections
from lbbt_mm.runs.find import gather


def test_a_page_of_the_copies_is_the_page(work_dir, undrawn, tmp_path) -> None:
    for initialisation in ("language", "scratch"):
        run = work_dir.run(initialisation=initialisation)
        scores = {"mAP": 51.23456789, "Pass@1": 70.0}
        (run / "epoch_3.pth").write_bytes(b"weights")
        work_dir.measure(run, "retrieval", scores)
        (run / "test.json").write_text('{"accuracy/top1": 12.5}')
    found = gather([work_dir.folder])
    files = collect(found, tmp_path / "copies")
    assert files and not list((tmp_path / "copies").rglob("*.pth"))
    again = gather([tmp_path / "copies"])
    assert not again.problems
    for before, after in zip(build_sections(found), build_sections(again), strict=True):
        if before.name in ("answer", "retrieval"):
            assert before.tables
            assert [t.to_text() for t in before.tables] == [
                t.to_text() for t in after.tables
            ]
    assert "51.2" in build_page(build_sections(again), "")
    assert {run.metrics["test"] for run in again.runs} == {12.5}
    texts = [path.read_text() for path in files]
    assert not any("/somewhere" in text or str(tmp_path) in text for text in texts)


def test_paths_are_written_as_in_a_clone() -> None:
    for text, expected in (
        ("python /home/me/lbbt_mm/tools/test.py", "python tools/test.py"),
        ("/opt/v/bin/python -u tools/x.py", "python -u tools/x.py"),
        ("work_dir='/a/b/work_dirs/run'", "work_dir='work_dirs/run'"),
        ("'configs/a.py'", "'configs/a.py'"),
        ("accuracy/top1", "accuracy/top1"),
    ):
        assert without_machine(text) == expected
