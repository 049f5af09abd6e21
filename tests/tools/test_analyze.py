"""tools/analyze.py: every measurement, one file each, and nothing lost on the way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from lbbt_mm.runs.measurement import MeasurementRecord

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ALL = (
    "outliers activation alignment synthetic_alignment separability retrieval "
    "probe_grid landscape curvature"
).split()
TINY = (
    "--images 12 --probe-images 12 --loss-images 4 --points 3 --eigenvalues 2 "
    "--iterations 8 --probes 2 --density-probes 2 --density-iterations 4"
).split()
BACKBONE = """
model['backbone'] = dict(
    type='lbbt_mm.LanguageBackbone', language_model={source!r}, img_size=8,
    patch_size=4, out_type='avg', drop_rate=0.0)
"""


@pytest.fixture
def language(project, tmp_path: Path) -> Path:
    """The tiny project, more of its images, and a tiny GPT-2 as its backbone."""
    import numpy as np
    import transformers as hf
    from PIL import Image

    config = hf.GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=8, vocab_size=32)
    hf.GPT2Model(config).save_pretrained(tmp_path / "gpt2")
    rng = np.random.default_rng(1)
    for split in ("train", "test"):
        for name, low in (("dark", 0), ("light", 156)):
            for number in range(6):
                image = rng.integers(low, low + 100, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(image).save(
                    project.root / split / name / f"more{number}.png"
                )
    with project.config.open("a") as file:
        file.write(BACKBONE.format(source=str(tmp_path / "gpt2")))
    return project.config


@pytest.fixture
def analyze(tool: Callable, project) -> Callable:
    def run(*words: object, config: object = None, ok: bool = True) -> str:
        options = [config or project.config, *words, "--work-dir", project.work_dir]
        main = tool("analyze.py", *map(str, options)).main
        if ok:
            main()
            return ""
        with pytest.raises(SystemExit) as caught:
            main()
        message = str(caught.value)
        assert message.startswith("analyze.py: error: ") and "\n" not in message
        return message

    return run


def saved_model(config: Path, folder: Path) -> Path:
    """Write a checkpoint of the project's model."""
    from lbbt_mm.measure.measured_model import MeasuredModel

    model = MeasuredModel(Config.fromfile(config)).model
    with torch.no_grad():
        model.backbone.patch_embed.projection.weight.mul_(1.5)
    folder.mkdir(exist_ok=True)
    torch.save(dict(state_dict=model.state_dict()), folder / "epoch_3.pth")
    return folder / "epoch_3.pth"


def records(folder: Path) -> dict[str, MeasurementRecord]:
    return {
        path.stem: MeasurementRecord.read(path)
        for path in sorted(folder.glob("*.json"))
    }


def documented_keys() -> dict[str, list[str]]:
    text = (ROOT / "docs/analysis.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [^|]* \| (.*) \|$", text, re.M)
    return {
        name: [w for w in re.findall(r"`([\w.]+)`", cell.split(":")[0])]
        for name, cell in rows
    }


def test_all_of_a_checkpoint_and_of_its_start(language, analyze, project, capsys):
    checkpoint = saved_model(language, project.root / "run")
    analyze(checkpoint, "--unbridged", *TINY)
    trained = records(checkpoint.parent / "analysis" / "epoch_3")
    initial = records(project.work_dir / "analysis" / "initial")
    assert sorted(trained) == sorted(initial) == sorted(ALL)
    for name, record in {**trained, **initial}.items():
        assert record.error is None, f"{name}: {record.error}"
        assert record.result and record.provenance["command"]
        for key in documented_keys()[name][:1]:
            # Of curvature the keys of each number are documented.
            assert key in record.result or name == "curvature", name
    assert trained["outliers"].model["stage"] == "trained"
    assert initial["outliers"].model["initialisation"] == "language"
    # The start is measured beside the trained embedding, which was made larger.
    change = trained["alignment"].result
    assert change["now"]["data"]["curve"] != change["initial"]["data"]["curve"]
    same = initial["alignment"].result
    assert same["now"] == same["initial"]
    assert same["now"]["data"]["curve"] == change["initial"]["data"]["curve"]

    capsys.readouterr()
    analyze(checkpoint, "--unbridged", *TINY)
    assert capsys.readouterr().out.count("there already") == 2 * len(ALL)
    analyze(checkpoint, "--list", *TINY)
    assert capsys.readouterr().out.count(": done") == len(ALL)
    analyze(checkpoint, "--list", *TINY, "--images", "11")
    listed = capsys.readouterr().out
    assert listed.count("there, with other options: images 12, not 11") == 4


def test_as_in_the_authors_code(language, analyze, project):
    """All tensors count; training images by cluster; directions of length 1."""
    kinds = ("outliers", "separability", "landscape")
    names = [f"{kind}_as_released" for kind in kinds]
    analyze("--unbridged", *TINY, "--only", *names, "outliers", "separability")
    found = records(project.work_dir / "analysis" / "initial")
    assert {n: r.error for n, r in found.items()} == dict.fromkeys(found)
    every, matrices = found["outliers_as_released"], found["outliers"]
    assert every.result["total"]["count"] > matrices.result["total"]["count"]
    assert found["separability_as_released"].data["split"] == "train"
    assert found["separability"].result["coloured_by"] == "labels"
    clusters = found["separability_as_released"].result
    assert clusters["coloured_by"] == "clusters"
    surface = found["landscape_as_released"]
    assert len(surface.result["unit"]["loss"]) == len(surface.result["steps"]) == 20
    assert surface.data["split"] == "test"


def test_the_word_table_of_a_language_model_counts_there(tmp_path, analyze):
    import transformers as hf

    gpt2 = hf.GPT2Model(hf.GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=64))
    gpt2.save_pretrained(tmp_path / "tiny")
    analyze("--only", "outliers_as_released", config=tmp_path / "tiny")
    (file,) = tmp_path.rglob("outliers_as_released.json")
    found = MeasurementRecord.read(file)
    total = sum(p.numel() for p in gpt2.parameters())
    assert found.result["total"]["count"] == total


def test_numbers_are_those_of_the_functions(language, analyze, project):
    from lbbt_mm.analysis import weight_statistics
    from lbbt_mm.measure.measured_model import MeasuredModel
    from lbbt_mm.metrics.retrieval import retrieval_scores

    analyze("--only", "outliers", "retrieval", *TINY)
    found = records(project.work_dir / "analysis" / "initial")
    measured = MeasuredModel(Config.fromfile(language))
    total = weight_statistics(measured.model).total
    assert found["outliers"].result["total"]["count"] == total.count
    assert found["outliers"].result["total"]["std"] == pytest.approx(total.std)
    features, data = measured.features("test", 12)
    scores = retrieval_scores(features.features, features.labels)
    assert found["retrieval"].result["mAP"] == pytest.approx(scores["mAP"])
    assert found["retrieval"].result["Recall@5"] == pytest.approx(scores["recall@5"])
    assert found["retrieval"].data == data and data["images"] == 12


def test_loss_has_the_labels_of_training_and_features_the_true_ones(language):
    from mmengine.registry import DATASETS

    from lbbt_mm.measure.measured_model import MeasuredModel

    cfg = Config.fromfile(language)
    measured = MeasuredModel(cfg)
    stream, _ = measured._batches("train", 20, as_trained=True)
    drawn = [int(s.gt_label) for batch in stream for s in batch["data_samples"]]
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    assert drawn == [int(dataset[i]["data_samples"].gt_label) for i in order]
    features, _ = measured.features("train", 20)
    truth = [int(dataset.get_data_info(i)["true_label"]) for i in order]
    assert features.labels.tolist() == truth != drawn


def test_the_initial_model_is_the_one_that_training_starts_from(language, project):
    from mmengine.runner import Runner

    from lbbt_mm.measure.measured_model import MeasuredModel

    cfg = Config.fromfile(language)
    cfg.work_dir = str(project.work_dir)
    runner = Runner.from_cfg(cfg)
    runner.build_train_loop(cfg.train_cfg)
    runner._init_model_weights()
    started, found = runner.model.state_dict(), MeasuredModel(cfg).model.state_dict()
    assert [*started] == [*found]
    for name, value in started.items():
        torch.testing.assert_close(found[name].cpu(), value.cpu(), rtol=0, atol=0)


def test_what_changed_is_measured_again(language, analyze, project, capsys):
    def seconds_measured(*words: object) -> int:
        capsys.readouterr()
        analyze("--only", "retrieval", *TINY, *words)
        return int("there already" not in capsys.readouterr().out)

    assert seconds_measured() == 1
    assert seconds_measured() == 0
    assert seconds_measured("--images", "10") == 1
    assert seconds_measured("--images", "10") == 0
    seed = ("--images", "10", "--cfg-options", "randomness.seed=5")
    assert seconds_measured(*seed) == 1
    assert seconds_measured(*seed, "--redo") == 1
    half = project.work_dir / "analysis" / "initial" / "retrieval.json"
    half.write_text(half.read_text()[:100])
    assert seconds_measured(*seed) == 1
    assert seconds_measured(*seed) == 0
    # The images, under one config: one moves to the other class.
    folder = project.root / "test"
    next(folder.glob("dark/*.png")).rename(folder / "light" / "moved.png")
    assert seconds_measured(*seed) == 1
    assert seconds_measured(*seed) == 0


def test_one_that_fails_costs_no_other_and_no_earlier_result(
    language, analyze, project, monkeypatch
):
    from lbbt_mm.measure.measurements import MEASUREMENTS

    def replace(name: str, measure: Callable) -> None:
        changed = MEASUREMENTS[name]._replace(measure=measure)
        monkeypatch.setitem(MEASUREMENTS, name, changed)

    analyze("--only", "activation", *TINY)
    folder = project.work_dir / "analysis" / "initial"
    good = (folder / "activation.json").read_text()

    def broken(*_):
        raise KeyError("gone")

    def ended(*_):
        raise KeyboardInterrupt

    for name in ("activation", "alignment"):
        replace(name, broken)
    replace("landscape", ended)
    names = ("activation", "alignment", "retrieval")
    said = analyze("--redo", "--only", *names, *TINY, ok=False)
    assert "2 measurement(s) failed" in said and "KeyError: 'gone'" in said
    assert (folder / "activation.json").read_text() == good
    found = records(folder)
    assert found["alignment"].result is None
    assert found["alignment"].error == "KeyError: 'gone'"
    assert found["retrieval"].error is None
    tool_ended = pytest.raises(KeyboardInterrupt)
    with tool_ended:
        analyze("--only", "separability", "landscape", *TINY)
    assert records(folder)["separability"].error is None


def test_a_failure_keeps_the_result_of_the_checkpoint_before(
    language, analyze, project
):
    checkpoint = saved_model(language, project.root / "run")
    analyze(checkpoint, "--only", "activation", *TINY)
    path = checkpoint.parent / "analysis" / "epoch_3" / "activation.json"
    good = path.read_text()
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["backbone.language.blocks.0.qkv.weight"][0] = float("nan")
    torch.save(state, checkpoint)
    analyze(checkpoint, "--only", "activation", *TINY, ok=False)
    assert path.read_text() == good


def test_checkpoints_that_do_not_fit_are_one_sentence(language, analyze, project):
    other = project.root / "other.pth"
    torch.save(dict(state_dict={"backbone.a": torch.zeros(2)}), other)
    said = analyze(other, *TINY, ok=False)
    assert said.count("is not the one in the config") == 1
    assert all(r.error for r in records(project.root / "analysis" / "other").values())
    other.write_bytes(b"half a file")
    assert "other.pth" in analyze(other, "--only", "outliers", ok=False)
    assert "does not exist" in analyze(project.root / "none.pth", ok=False)


def test_nan_weights_one_class_and_foreign_backbones_are_marked(
    language, analyze, project
):
    checkpoint = saved_model(language, project.root / "run")
    state = torch.load(checkpoint, weights_only=True)
    state["state_dict"]["backbone.language.blocks.0.qkv.weight"][0] = float("nan")
    torch.save(state, checkpoint)
    names = ("outliers", "activation", "retrieval", "landscape", "curvature")
    analyze(checkpoint, "--only", *names, *TINY, ok=False)
    marked = records(checkpoint.parent / "analysis" / "epoch_3")
    assert sorted(marked) == sorted(names)
    errors = {name: record.error or "none" for name, record in marked.items()}
    assert all("nan" in error.lower() for error in errors.values()), errors

    for path in (project.root / "test" / "light").glob("*.png"):
        path.unlink()
    (project.root / "test" / "light").rmdir()
    one = ("separability", "activation")
    analyze("--only", *one, *TINY, ok=False)
    marked = records(project.work_dir / "analysis" / "initial")
    assert "two classes" in marked["separability"].error
    assert marked["activation"].error is None


def test_another_backbone_has_outliers_only(analyze, project):
    said = analyze("--only", "outliers", "activation", *TINY, ok=False)
    assert "Expected a model with an lbbt_mm.LanguageBackbone, got" in said
    found = records(project.work_dir / "analysis" / "initial")
    assert found["outliers"].error is None
    assert found["outliers"].model["initialisation"] == "VisionTransformer"


def test_an_image_that_cannot_be_read(language, analyze, project):
    path = project.root / "test/light/more3.png"
    path.write_bytes(b"no image")
    said = analyze("--only", "outliers", "separability", ok=False)
    assert f"separability.json: {path} cannot be read (8 bytes are no" in said
    found = records(project.work_dir / "analysis" / "initial")
    assert found["outliers"].error is None


def test_a_plain_language_model(language, analyze, project, tmp_path):
    said = analyze(
        "--only", "outliers", "retrieval", config=tmp_path / "gpt2", ok=False
    )
    assert "retrieval looks at images: give a config" in said
    found = records(project.work_dir / "analysis" / "initial")
    names = found["outliers"].result["by_block"]
    assert [*names] == ["language.blocks.0", "language.blocks.1"]
    assert json.dumps(found["outliers"].result["histogram"])


def test_a_full_disk_is_one_sentence(language, analyze, monkeypatch):
    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(MeasurementRecord, "write", full)
    said = analyze("--only", "outliers", *TINY, ok=False)
    assert "could not be written" in said and "No space left" in said
