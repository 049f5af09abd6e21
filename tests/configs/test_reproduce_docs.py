"""docs/reproduce.md names commands that exist, on configs that fit their row."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from mmengine.config import Config

from shipped import (  # isort: skip
    CONFIGS,
    DENSE,
    LEAVES,
    LLAVA,
    RETRIEVAL,
    ROOT,
    flat,
    load,
    parse_name,
)

TEXT = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+): (.+?) \|.*?(configs/\S+\.py)", TEXT, flags=re.M)


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"(?:configs|tools)/\w[\w./-]*\.(?:py|sh)", TEXT)))
)
def test_files_exist(path: str) -> None:
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./]+)\)", TEXT))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / "docs" / target).is_file()


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"work_dirs/([\w.-]+/epoch_\d+\.pth)", TEXT)))
)
def test_checkpoints_are_what_a_config_writes(path: str) -> None:
    stem, epoch = re.fullmatch(r"(.+)/epoch_(\d+)\.pth", path).groups()
    (config,) = [p for p in LEAVES if p.stem == stem]
    assert load(config).train_cfg.max_epochs == int(epoch)


def test_every_paper_config_is_named() -> None:
    named = set(re.findall(r"configs/(\S+?\.py)", TEXT))
    wanted = {
        str(p.relative_to(CONFIGS))
        for p in LEAVES
        if p.parent.name in ("bridge", "supervised")
        and p.stem.startswith(("gpt2", "chronos"))
        and p.stem.endswith(("cifar10", "cifar100"))
        # Figure 13 shows two parts of CIFAR-100 only.
        and not ("last1_" in p.stem and p.stem.endswith("cifar100"))
    }
    assert wanted <= named


def test_every_retrieval_config_is_named() -> None:
    named = set(re.findall(r"configs/(\S+?\.py)", TEXT))
    assert {str(p.relative_to(CONFIGS)) for p in RETRIEVAL} <= named


def test_every_llava_of_the_paper_is_named() -> None:
    """By the function's arguments, or as a file."""
    named = set(re.findall(r"configs/llava/(\S+?)\.py", TEXT))
    for model, arm, mixture in re.findall(r"`llava (\S+) (\S+) (\S+)`", TEXT):
        named |= {f"{model}_{arm}_stage1_llava-558k", f"{model}_{arm}_stage2_{mixture}"}
        tests = {p.stem for p in LLAVA if p.stem.startswith(f"{model}_test_")}
        assert len(tests) == 4
    wanted = {
        p.stem
        for p in LLAVA
        if not re.search("plain-questions|_test|_scratch_stage2-lora_", p.stem)
    }
    assert named - {"$one", "$two", "$1_test_$data"} == wanted


def test_every_dense_config_of_the_paper_is_named() -> None:
    named = re.findall(r"configs/(\S+?\.py)", TEXT)
    wanted = {
        str(p.relative_to(CONFIGS))
        for p in DENSE
        if p.parent == CONFIGS
        or "vit-t" in p.stem
        or "_language_" in p.stem
        and p.parent.name == "detr"
        and "fashion-scenes" not in p.stem
    }
    assert wanted <= set(named)


@pytest.mark.parametrize(
    ("what", "config"),
    re.findall(r"^\| (.*DETR.*|.*Segmenter-T.*?) \|.*?(configs/\S+\.py)", TEXT, re.M),
)
def test_row_of_a_dense_table_says_its_arm(what: str, config: str) -> None:
    (hook,) = [h for h in load(ROOT / config).custom_hooks if "copies" in h]
    assert hook.pretrained == ("scratch" not in what)
    if "classes" in what:
        assert re.search(r"(\d+) classes", what)[1] in config


@pytest.mark.parametrize(("number", "what", "config"), ROWS)
def test_row_says_what_its_config_is(number: str, what: str, config: str) -> None:
    name = parse_name(Path(config))
    if "correct" in what:
        assert name.labels == "correct"
    elif ratio := re.search(r"(\d+) %", what):
        assert name.labels == f"random{ratio[1]}"
    elif "random" in what:
        assert name.labels == "random100"
    if part := re.search(r"(first|last) ?(\d+|layer)", what):
        assert name.part == part[1] + part[2].replace("layer", "1")
    if arm := re.search(r"language|scratch", what):
        assert name.arm == arm[0]


def test_measurements_are_those_of_the_contract() -> None:
    contract = (ROOT / "docs/analysis.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(\w+)` \|", contract, flags=re.M))
    named = set(re.findall(r"--only (\w+)", TEXT))
    assert {"outliers", "activation", "landscape", "curvature"} <= named <= known


@pytest.mark.parametrize(
    ("config", "checkpoint"),
    re.findall(r"(configs/\S+\.py) work_dirs/([\w.-]+)/epoch", TEXT),
)
def test_a_checkpoint_is_measured_by_its_own_config(config, checkpoint) -> None:
    assert Path(config).stem.replace("-bridged-retrieval", "") == checkpoint


@pytest.mark.parametrize(
    "words", sorted(set(re.findall(r"(?<= )((?:[a-z_]+\.)+[a-z_]+=[\w:+.]+)", TEXT)))
)
def test_options_name_keys_of_the_configs(words: str) -> None:
    key = words.partition("=")[0]
    optional = {"model.backbone.with_cp", "model.backbone.trainable_layers"}
    assert key in optional or any(key in flat(p) for p in [*LEAVES, *RETRIEVAL, *LLAVA])


def test_the_function_of_the_page(tmp_path: Path) -> None:
    """``row`` in a shell, with a python that says what it was asked for."""
    function = re.search(r"```bash\n(LAW=.*?)```", TEXT, flags=re.S)[1]
    config = "configs/bridge/gpt2-medium_scratch_random15_400e_cifar10.py"
    work_dir = tmp_path / "work_dirs" / Path(config).stem
    work_dir.mkdir(parents=True)
    (work_dir / "last_checkpoint").write_text("here/epoch_400.pth")
    script = f'python() {{ echo "$@"; }}\n{function}\nrow {config} a.b=1\n'
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    train, test = said.stdout.splitlines()
    seed = "randomness.seed=0 "
    law = "train_dataloader.dataset.exclude_true_label=True "
    law += law.replace("train", "val", 1)
    assert train == f"tools/train.py {config} --cfg-options {seed}{law}a.b=1"
    assert test == f"tools/test.py {config} here/epoch_400.pth"


def test_the_law_reaches_both_loaders() -> None:
    cfg = Config(load(LEAVES[0]).to_dict())
    law = re.search(r'LAW="(.*?)"', TEXT)[1].split()
    cfg.merge_from_dict({option.split("=")[0]: True for option in law})
    assert cfg.train_dataloader.dataset.exclude_true_label is True
    assert cfg.val_dataloader.dataset.exclude_true_label is True


def test_the_snippet_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    snippets = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    (snippet,) = (one for one in snippets if "figure12" in one)
    for arm in ("language", "scratch"):
        for ratio in (15, 100):
            name = f"gpt2-medium_{arm}_random{ratio}_400e_cifar100"
            assert CONFIGS / f"bridge/{name}.py" in LEAVES
            log = tmp_path / "work_dirs" / name / "run/vis_data/scalars.json"
            log.parent.mkdir(parents=True)
            log.write_text(json.dumps(dict(train_acc=9.0, epoch=1)))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/reproduce.md", "exec"), {})
    assert (tmp_path / "figure12.png").stat().st_size > 0
