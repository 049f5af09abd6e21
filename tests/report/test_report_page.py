"""The page: its numbers are the files' numbers, and what is missing is marked."""

from __future__ import annotations

import html
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lbbt_mm.report.measured import PARTS
from lbbt_mm.report.page import write_charts
from lbbt_mm.report.report_page import build_page, build_sections
from lbbt_mm.report.tables import cell
from lbbt_mm.runs.find import gather

MEASUREMENTS = (
    *("outliers", "landscape", "separability", "activation", "alignment"),
    *("synthetic_alignment", "retrieval", "curvature", "probe_grid"),
)


@pytest.fixture(autouse=True)
def _undrawn(undrawn) -> None:
    """Nothing here looks at what is inside the panels."""


def page_of(*folders: Path) -> str:
    return build_page(build_sections(gather(list(folders))), "made by a test")


def section(page: str, name: str) -> str:
    """Cut one section out of the page, as text without tags."""
    start = page.index(f'<section id="{name}"')
    text = page[start : page.index("</section>", start)]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))


def edit(path: Path, change) -> None:
    record = json.loads(path.read_text())
    change(record["result"])
    path.write_text(json.dumps(record))


class Structure(HTMLParser):
    """Checks what browsers forgive: tags, ids, links, names of pictures."""

    VOID = {"meta", "br", "img", "hr", "path", "rect", "circle"}

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.loaded: list[str] = []
        self.unnamed: list[str] = []
        self.headings: list[str] = []

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.handle_endtag(tag)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        found = dict(attrs)
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "a":
            self.anchors.append(found["href"])
        for key in ("src", "xlink:href", "srcset", "data"):
            if key in found:
                self.loaded.append(found[key])
        if tag in ("link", "script", "iframe", "object", "use"):
            self.loaded.append(tag)
        if found.get("role") == "img" and not found.get("aria-label"):
            self.unnamed.append(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag, (tag, self.getpos())


def structure(page: str) -> Structure:
    parser = Structure()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_every_part_is_there_and_nothing_is_loaded(work_dir) -> None:
    work_dir.everything()
    page = page_of(work_dir.folder)
    found = structure(page)
    assert len(found.ids) == len(set(found.ids))
    targets = {f"#{name}" for name in found.ids}
    assert {a for a in found.anchors if a.startswith("#")} <= targets
    assert found.loaded == [] and found.unnamed == []
    assert "url(" not in page and "@import" not in page
    assert found.headings.count("h1") == 1
    levels = [int(name[1]) for name in found.headings]
    assert all(b <= a + 1 for a, b in zip(levels[:-1], levels[1:], strict=True))
    for name in {*MEASUREMENTS} - {"synthetic_alignment"}:
        assert f'id="{name}"' in page
    assert "Nothing that this page asks for" in section(page, "missing")


@pytest.mark.parametrize(
    ("measurement", "part", "change", "before", "after"),
    [
        ("retrieval", "retrieval", lambda r: r.update(mAP=12.34), "46.2", "12.3"),
        (
            "curvature",
            "curvature",
            lambda r: r["trace"].update(value=77.5),
            "6.75 ± 0.03",
            "77.5 ± 0.03",
        ),
        (
            "outliers",
            "outliers",
            lambda r: r["total"].update(above=9876),
            "31",
            "9876",
        ),
        (
            "separability",
            "separability",
            lambda r: r.update(knn_accuracy=0.777),
            "0.643",
            "0.777",
        ),
        (
            "alignment",
            "alignment",
            lambda r: r["now"]["data"].update(off_diagonal=0.0456),
            "0.13",
            "0.0456",
        ),
        (
            "activation",
            "activation",
            lambda r: r["zero"][0].update(ratio=0.96),
            "42.5",
            "57.75",
        ),
        (
            "landscape",
            "landscape",
            lambda r: r["filter_normalised"]["loss"][0].__setitem__(0, 55.5),
            "2 to 10",
            "2 to 55.5",
        ),
        (
            "probe_grid",
            "probe_grid",
            lambda r: r["test_top1"][0].__setitem__(0, 99.1),
            "63.0",
            "99.1",
        ),
    ],
)
def test_a_number_follows_its_file_and_its_absence_is_a_gap(
    work_dir, measurement: str, part: str, change, before: str, after: str
) -> None:
    runs = work_dir.everything()
    path = runs["language random"] / "analysis" / "epoch_3" / f"{measurement}.json"
    first = section(page_of(work_dir.folder), part)
    assert before in first and after not in first
    edit(path, change)
    second = section(page_of(work_dir.folder), part)
    assert after in second
    path.unlink()
    third = page_of(work_dir.folder)
    assert after not in section(third, part)
    assert "Missing" in section(third, part)
    assert f"--only {measurement}" in third
    gap = f"{PARTS[measurement][0]}: language, random labels"
    assert gap in html.unescape(section(third, "missing"))


def test_a_probe_follows_its_file_and_its_absence_is_a_gap(work_dir) -> None:
    home = work_dir.run(probe=81.7)
    page = page_of(work_dir.folder)
    assert "81.7" in section(page, "answer")
    probe = json.loads((home / "linear_probe.json").read_text())
    work_dir.json(home / "linear_probe.json", dict(probe, last_test_top1=64.4))
    page = page_of(work_dir.folder)
    assert "64.4" in section(page, "answer") and "81.7" not in page
    (home / "linear_probe.json").unlink()
    record = json.loads((home / "result.json").read_text())
    del record["probe"]
    work_dir.json(home / "result.json", record)
    page = page_of(work_dir.folder)
    assert "64.4" not in page
    assert "Missing: linear probe of language, after random" in section(page, "curves")
    assert "tools/linear_probe.py" in section(page, "curves")


def test_seeds_are_averaged_with_an_interval(work_dir) -> None:
    for seed, top1 in enumerate((70.0, 80.0, 90.0)):
        work_dir.run(seed=seed, probe=top1)
    # Student's t, 2 degrees of freedom: 4.303 * 10 / sqrt(3).
    answer = section(page_of(work_dir.folder), "answer")
    assert "80.0 [55.2, 104.8], 3 seeds" in answer and "In brackets" in answer
    assert cell([70.0]) == "70.0"
    assert cell([None, 70.0, float("nan")]) == "70.0, 1 not finite"
    assert cell([]) == ""


def test_runs_of_different_images_are_kept_apart(work_dir, tmp_path: Path) -> None:
    work_dir.run(probe=71.1)
    other = type(work_dir)(tmp_path / "other")
    other.run(probe=91.3, dataset="mnist")
    page = page_of(work_dir.folder, other.folder)
    assert "2 settings of different images" in section(page, "runs")
    table = section(page, "answer")
    assert "71.1" in table and "91.3" in table
    assert "81.2" not in table  # their mean
    assert "Toy-Model, 4 blocks, fashion-mnist, 1000 images" in table
    assert "Toy-Model, mnist: language, random labels" in table
    assert "In brackets" not in table
    curves = page[page.index('id="curves"') :]
    curves = curves[: curves.index("</section>")]
    assert curves.count("<figure>") == 2


def test_measurements_on_other_images_get_figures_of_their_own(work_dir) -> None:
    home = work_dir.run()
    result = work_dir.results["activation"]
    work_dir.measure(home, "activation", result(1), initial=True)
    work_dir.measure(
        home, "activation", result(2), data=dict(work_dir.data, fingerprint="ffff")
    )
    page = page_of(work_dir.folder)
    text = section(page, "activation")
    assert "2 different sets of images" in text and "not to be compared" in text
    start = page.index('id="activation"')
    assert page[start : page.index("</section>", start)].count("<figure>") == 2


def test_failed_broken_and_infinite_numbers_never_stop_the_page(work_dir) -> None:
    runs = work_dir.everything()
    home = runs["language random"]
    work_dir.measure(home, "activation", None, error="the layer <b>x</b> is missing")
    (home / "analysis" / "epoch_3" / "outliers.json").write_text('{"measurement": ')
    edit(
        home / "analysis" / "epoch_3" / "retrieval.json",
        lambda r: r.update(mAP=float("nan")),
    )
    edit(
        home / "analysis" / "epoch_3" / "landscape.json",
        lambda r: r["plain"]["loss"][3].__setitem__(slice(4, 6), [math.inf, None]),
    )
    edit(home / "analysis" / "epoch_3" / "separability.json", lambda r: r.clear())
    edit(home / "analysis" / "epoch_3" / "alignment.json", lambda r: r.update(now=7))
    (runs["scratch random"] / "result.json").write_text("[]")
    (runs["scratch true"] / "linear_probe.json").write_text("{}")
    page = page_of(work_dir.folder)
    structure(page)
    assert "the layer &lt;b&gt;x&lt;/b&gt; is missing" in page and "<b>x" not in page
    assert "not the result of a measurement" in section(page, "missing")
    assert "not finite" in section(page, "retrieval")
    assert "(2 not finite)" in section(page, "landscape")
    assert "Missing: Alignment with" in section(page, "alignment")
    assert "nan" not in page.split("<main>")[1].replace("dominan", "")


def test_as_the_authors_code_looks_at_it(work_dir) -> None:
    home = work_dir.run(labels="random")
    surface = work_dir.results["landscape"](1)
    found = dict(steps=surface["steps"], centre=1.0, unit=surface["plain"])
    work_dir.measure(home, "landscape_as_released", found)
    clusters = work_dir.results["separability"](1) | dict(coloured_by="clusters")
    clusters["clusters"] = [0] * len(clusters["points"])
    work_dir.measure(home, "separability_as_released", clusters)
    page = page_of(work_dir.folder)
    text = section(page, "landscape_as_released")
    assert "over directions of length 1" in text and "plain" not in text
    text = section(page, "separability_as_released")
    assert "coloured by their cluster" in text and "in 1 clusters" in page


def test_what_is_left_of_the_language(work_dir) -> None:
    home = work_dir.run(labels="random")
    found = dict(before=23.858, perplexity=61.25, bits_per_byte=1.4)
    work_dir.measure(home, "perplexity", found)
    page = page_of(work_dir.folder)
    structure(page)
    text = section(page, "perplexity")
    assert "23.86 61.25" in text and "the blocks put back into" in text


def test_the_run_knows_best_what_it_was_trained_on(work_dir) -> None:
    home = work_dir.run(labels="random")
    path = work_dir.measure(home, "activation", work_dir.results["activation"](1))
    record = json.loads(path.read_text())
    record["model"]["labels"] = "true"
    path.write_text(json.dumps(record))
    text = section(page_of(work_dir.folder), "activation")
    assert "language, random labels" in text and "true labels 3" not in text


def test_one_initialisation_alone_is_said(work_dir) -> None:
    work_dir.run(initialisation="language")
    page = page_of(work_dir.folder)
    runs = section(page, "runs")
    assert "Missing: scratch initialisation" in runs
    missing = section(page, "missing")
    assert missing.count("There is nothing to compare language with") == 1
    assert "model.backbone.pretrained=False --work-dir" in runs


def test_an_unfinished_run_is_drawn_but_in_no_table(work_dir) -> None:
    work_dir.run(train_acc=66.6, finished=False)
    page = page_of(work_dir.folder)
    assert "3 so far" in section(page, "runs")
    assert "Not finished" in section(page, "curves")
    assert "66.6" not in section(page, "answer")


def test_names_are_escaped(work_dir) -> None:
    home = work_dir.run()
    record = json.loads((home / "result.json").read_text())
    record.update(
        name="<script>alert(1)</script>", initialisation='language" onload="x'
    )
    work_dir.json(home / "result.json", record)
    page = page_of(work_dir.folder)
    assert "<script" not in page
    structure(page)


def test_panels_as_files(work_dir, tmp_path: Path) -> None:
    import xml.etree.ElementTree as ET

    work_dir.everything()
    files = write_charts(tmp_path / "svg", build_sections(gather([work_dir.folder])))
    assert len(files) > 20
    for file in files:
        assert ET.parse(file).getroot().tag.endswith("svg")


def test_a_sweeps_results_file_is_enough(work_dir, tmp_path: Path) -> None:
    home = work_dir.run(probe=73.9)
    record = json.loads((home / "result.json").read_text())
    record["metrics"] = dict(train_acc=90.0, probe_after=73.9, probe_before=63.9)
    sweep = dict(plan="configs/sweeps/toy.py", name="toy", runs=[record, {"arm": 1}])
    (tmp_path / "logs").mkdir()
    work_dir.json(tmp_path / "logs" / "toy.json", sweep)
    found = gather([tmp_path / "logs"])
    page = build_page(build_sections(found), "")
    assert "73.9" in section(page, "answer") and "63.9" in section(page, "answer")
    assert "configs/sweeps/toy.py" in section(page, "reproduce")
    assert len(found.problems) == 1 and "toy.json" in found.problems[0]


def test_a_setting_of_none_is_in_the_command(work_dir) -> None:
    home = work_dir.run()
    record = json.loads((home / "result.json").read_text())
    options = {"train_dataloader.dataset.dataset.indices": None}
    record["settings"] |= dict(config="a.py", options=options)
    work_dir.json(home / "result.json", record)
    (run,) = gather([work_dir.folder]).runs
    assert run.options == options


def test_an_empty_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Nothing to report below .*--work-dir"):
        gather([tmp_path])
    with pytest.raises(ValueError, match="is not a folder"):
        gather([tmp_path / "no"])


def test_baselines_are_not_asked_for_what_a_bridge_has(work_dir) -> None:
    run = work_dir.run()
    record = json.loads((run / "result.json").read_text())
    record |= dict(initialisation="simclr", name="simclr_s0")
    (run / "result.json").write_text(json.dumps(record))
    gaps = [g for s in build_sections(gather([work_dir.folder])) for g in s.gaps]
    assert not [gap for gap in gaps if "training on true labels" in gap.what]
