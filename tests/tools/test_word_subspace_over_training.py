"""Where visual tokens lie among the words: trained LLaVAs, their files, the page."""

from __future__ import annotations

import re

import pytest
import torch
from llava_tiny import run_config, write_chat_model, write_conversations

from lbbt_mm.runs.measurement import MeasurementRecord

pytestmark = pytest.mark.slow

PROJECTORS = dict(
    mlp=dict(type="lbbt_mm.MLPProjector"),
    langbridge=dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=20),
)
STEPS = ("initial", "iter_3", "iter_6")


def test_both_projectors_over_training(project, tool, ended, tmp_path) -> None:
    from mmengine.runner import Runner

    write_conversations(tmp_path / "data")
    language = write_chat_model(tmp_path / "chat")
    found = {}
    for name, projector in PROJECTORS.items():
        cfg = run_config(tmp_path, language, name)
        cfg.model.projector = projector
        torch.manual_seed(0)
        Runner.from_cfg(cfg).train()
        home, config = tmp_path / name, tmp_path / f"{name}.py"
        cfg.dump(config)
        checkpoints = [home / f"{step}.pth" for step in STEPS[1:]]
        command = [config, *checkpoints, "--unbridged", "--images", "3"]
        tool("analyze.py", *command, "--only", "word_subspace").main()
        done = ended("analyze.py", *command, "--only", "word_subspace", "--list")
        assert done.stdout.count(": done") == 3
        for step in STEPS:
            path = home / "analysis" / step / "word_subspace.json"
            found[name, step] = MeasurementRecord.read(path)
    for (name, _), record in found.items():
        assert record.error is None, record.error
        result, kind = record.result, PROJECTORS[name]["type"].split(".")[1]
        assert result["projector"] == kind
        assert record.model["initialisation"] == f"language and {kind}"
        assert (record.data["split"], record.data["images"]) == ("train", 3)
        assert result["tokens"] == 3 * 4 and result["ks"] == [1, 2, 4, 8, 16, 32]
        for curve in (result["visual"], result["words"]):
            assert curve == sorted(curve) and curve[-1] == pytest.approx(1)
        assert result["random"][0] == 1 / 32
    # The words do not change, the visual tokens do.
    first, last = (found["mlp", step].result for step in ("initial", "iter_6"))
    assert first["words"] == last["words"] and first["visual"] != last["visual"]
    assert first["words"] == found["langbridge", "iter_3"].result["words"]

    done = ended("report.py", tmp_path / "mlp", tmp_path / "langbridge")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "mlp" / "report.html").read_text()
    section = page[page.index('<section id="word_subspace"') :]
    section = section[: section.index("</section>")]
    for kind in ("MLPProjector", "LangBridgeProjector"):
        for step in (0, 3, 6):
            assert f"language and {kind}, step {step}" in section
    assert section.count("<svg") >= 2 and "random vectors" in section
    assert "Energy within 2 of 32 directions" in re.sub(r"\s+", " ", section)


def test_a_classifier_has_no_words(project, tool, failing) -> None:
    said = failing("analyze.py", "--only", "word_subspace")
    assert "Expected an lbbt_mm.LLaVA, got ImageClassifier" in said
