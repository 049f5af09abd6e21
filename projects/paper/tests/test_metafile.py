"""model-index.yml: every number is in a log, every config and log is there."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import yaml

from lbbt_mm.config import load_config
from lbbt_mm.config.run_name import run_name

ROOT = Path(__file__).resolve().parents[3]
INDEX = yaml.safe_load((ROOT / "model-index.yml").read_text())["Import"]
METAFILES = [yaml.safe_load((ROOT / path).read_text()) for path in INDEX]
MODELS = [model for metafile in METAFILES for model in metafile["Models"]]
# What a metric is called in the logs of a sweep.
LOGGED = {
    ("Image Classification", "Top 1 Accuracy"): "probe_after",
    ("Object Detection", "box AP"): "ap",
    ("Semantic Segmentation", "mIoU"): "miou",
    ("Visual Question Answering", "Accuracy"): "qa",
}


def options_of(model: dict) -> dict[str, bool]:
    given = model["Metadata"].get("Options", "").split()
    return {key: value == "True" for key, value in (one.split("=") for one in given)}


def test_names_are_those_of_the_configs_and_collections_exist() -> None:
    names = [model["Name"] for model in MODELS]
    assert len(names) == len(set(names)) > 10
    collections = {one["Name"] for file in METAFILES for one in file["Collections"]}
    assert {model["In Collection"] for model in MODELS} == collections
    for metafile in METAFILES:
        for collection in metafile["Collections"]:
            assert (ROOT / collection["README"]).is_file()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["Name"])
def test_the_numbers_are_the_means_of_the_log(model: dict) -> None:
    config = ROOT / model["Config"]
    assert config.is_file()
    load_config(config, options_of(model))  # refuses what has no effect
    if "-fresh_" not in model["Name"]:  # told apart by its folder alone
        assert run_name(config, options_of(model)) == model["Name"]
    runs = [
        run
        for run in json.loads((ROOT / model["Training Log"]).read_text())["runs"]
        # A log keeps the path of its day; configs have other folders and words since.
        if Path(run["settings"]["config"]).name.replace("-moved_", "-transferred_")
        == f"{model['Name']}.py"
        and "first" not in run["variant"]  # another setting of the same config
    ]
    assert len(runs) == model["Metadata"]["Seeds"]
    page = (ROOT / "projects/paper/results_archive.md").read_text()
    for result in model["Results"]:
        for metric, value in result["Metrics"].items():
            key = LOGGED[result["Task"], metric]
            mean = statistics.mean(run["metrics"][key] for run in runs)
            assert value == pytest.approx(mean, abs=0.051)
            assert f"| {value:.1f}" in page, "as the page rounds it"
