"""Keep what a finished run measured, as one line of results/runs.jsonl, and draw.

Each FOLDER is the work folder of a training, in which tools/test.py wrote test.json.
Without FOLDER the table of README.md and its picture are made of the lines that there
are.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

HOME = Path(__file__).resolve().parent
sys.path.insert(0, str(HOME.parents[1]))
from lbbt_mm.files import write_whole  # noqa: E402
from lbbt_mm.report.chart import COLOURS, panels, save, style  # noqa: E402
from lbbt_mm.report.tables import Table  # noqa: E402

RESULTS = HOME / "results" / "runs.jsonl"
README = HOME / "README.md"
PICTURE = HOME / "images" / "curves.png"
# Data set -> its metric in the log, the metric's name, factor to per cent.
METRICS = {
    "bccd": ("coco/bbox_mAP_50", "AP50", 100),
    "camvid": ("mIoU", "mean IoU", 1),
}
_PLACE = re.compile(r"(<!-- runs -->\n).*?(<!-- end -->)", re.S)
Row = dict[str, Any]


def read_folder(folder: Path) -> Row:
    """Read a run: what it was, its curves, its speed, its test.

    Args:
        folder: Its work folder.
    """
    (config,) = folder.glob("*.py")
    _, backbone, start, _, dataset = config.stem.split("_")
    lines = [
        json.loads(line)
        for file in sorted(folder.glob("*/vis_data/scalars.json"))
        for line in file.read_text().splitlines()
    ]
    metric = METRICS[dataset][0]
    trained = [line for line in lines if "loss" in line]
    # The last line of an epoch is the mean of its last 50 iterations.
    losses = {line["epoch"]: round(line["loss"], 4) for line in trained}
    speeds = [line["images_per_second"] for line in trained if line["epoch"] > 1]
    seed = re.search(r"^seed = (\d+)", config.read_text(), flags=re.M)
    return dict(
        config=config.name,
        backbone=backbone,
        initialisation=start,
        dataset=dataset,
        seed=int(seed[1]),
        images_per_second=round(statistics.median(speeds), 2),
        loss=losses,
        validation={
            line["step"]: {k: v for k, v in line.items() if _is_score(k)}
            for line in lines
            if metric in line
        },
        test=json.loads((folder / "test.json").read_text()),
    )


def _is_score(name: str) -> bool:
    return name not in ("data_time", "time", "step")


def read_results() -> list[Row]:
    """Read the lines that are kept."""
    if not RESULTS.exists():
        return []
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def table(rows: list[Row]) -> str:
    """Set out the scores of the test images."""
    cells = []
    for row in rows:
        metric, name, factor = METRICS[row["dataset"]]
        curve = [factor * v[metric] for v in row["validation"].values()]
        test = row["test"]
        cells.append(
            [
                row["config"].removesuffix(".py"),
                str(row["seed"]),
                f"{row['images_per_second']:.1f}",
                f"{row['loss'][max(row['loss'], key=int)]:.2f}",
                ", ".join(f"{value:.1f}" for value in curve[-3:]),
                _said(test, row["dataset"]),
            ]
        )
    heads = ["config", "seed", "images/s", "loss", "last validations", "test"]
    return Table(heads, cells).to_markdown()


def _said(test: Row, dataset: str) -> str:
    if dataset == "camvid":
        return f"mean IoU {test['mIoU']:.1f}, pixels {test['aAcc']:.1f}"
    scores = (100 * test[f"coco/bbox_mAP{end}"] for end in ("", "_50", "_75"))
    return "AP {:.1f}, AP50 {:.1f}, AP75 {:.1f}".format(*scores)


@style()
def draw(rows: list[Row], path: Path) -> None:
    """Draw the validations by epoch, one panel a data set."""
    titles = {"bccd": "blood cells (BCCD)", "camvid": "street scenes (CamVid)"}
    figure, places = panels([list(titles)])
    for row in rows:
        metric, _, factor = METRICS[row["dataset"]]
        epochs = [int(epoch) for epoch in row["validation"]]
        scores = [factor * scores[metric] for scores in row["validation"].values()]
        name = row["initialisation"]
        if not row["backbone"].startswith("smollm2"):
            name = f"{row['backbone']}, {name}"
        colour, _ = COLOURS.get(name, COLOURS["other"])
        places[row["dataset"]].plot(epochs, scores, "o-", color=colour, label=name)
    for dataset, axes in places.items():
        axes.set(title=titles[dataset], xlabel="epoch", ylim=(0, None))
        axes.set_ylabel(f"{METRICS[dataset][1]} of the validation images, %")
    save(figure, path)


def main(argv: list[str] | None = None) -> None:
    """Keep, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="*", type=Path, metavar="FOLDER")
    args = parser.parse_args(argv)
    rows = read_results()
    for folder in args.folder:
        row = read_folder(folder)
        same = ("config", "seed")
        rows = [r for r in rows if any(r[key] != row[key] for key in same)] + [row]
    rows.sort(key=lambda row: (row["config"], row["seed"]))
    if args.folder:
        RESULTS.parent.mkdir(exist_ok=True)
        write_whole(RESULTS, "".join(json.dumps(row) + "\n" for row in rows))
    text = README.read_text(encoding="utf-8")
    made = _PLACE.sub(lambda found: f"{found[1]}\n{table(rows)}\n\n{found[2]}", text)
    write_whole(README, made)
    PICTURE.parent.mkdir(exist_ok=True)
    draw(rows, PICTURE)


if __name__ == "__main__":
    main()
