"""docs/reproduce.md names commands that exist, on configs that fit their row."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from mmengine.config import Config, DictAction

from lbbt_mm.config import load_config
from lbbt_mm.config.run_name import run_name

from shipped import (  # isort: skip
    CONFIGS,
    DENSE,
    LEAVES,
    LLAVA,
    OBJECTIVES,
    RETRIEVAL,
    ROOT,
    SELF_SUPERVISED,
    flat,
)

TEXT = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
DATA = {  # what a row calls a data set -> the last field of a name
    "CIFAR-10": "cifar10",
    "CIFAR-100": "cifar100",
    "Tiny-ImageNet-200": "tiny-imagenet",
    "ImageNet-100": "imagenet100",
    "ImageNet-1K": "imagenet1k",
}


class Row(NamedTuple):
    """A command of a table, and what the table says of it."""

    said: str  # the cells before the command
    command: str
    config: str
    options: tuple[tuple[str, object], ...]

    @property
    def name(self) -> str:
        return _name(self.config, self.options)

    def build(self) -> Config:
        return _build(self.config, self.options)


@cache
def _name(config: str, options: tuple) -> str:
    return run_name(ROOT / config, dict(options))


@cache
def _build(config: str, options: tuple) -> Config:
    return load_config(ROOT / config, dict(options))


def read_rows() -> list[Row]:
    rows = []
    for cells, command in re.findall(
        r"^(\|.*)\| `([^`]*configs/\S+?\.py[^`]*)` \|$", TEXT, re.M
    ):
        config = re.search(r"(projects/paper/)?configs/\S+?\.py", command)[0]
        rule = re.search(r'RULE="(.*?)"', TEXT)[1]
        words = re.findall(r"(?<= )([\w.]+)=(\S+)", command.replace("$RULE", rule))
        if command.startswith("row "):
            words += [("seed", "0"), tuple(rule.split("="))]
        options = {key: DictAction._parse_iterable(value) for key, value in words}
        rows.append(Row(cells, command, config, tuple(options.items())))
    return rows


ROWS = read_rows()
DISTINCT = sorted({(r.config, r.options) for r in ROWS}, key=str)


def test_files_and_links_exist() -> None:
    named = re.findall(r"(?:configs|projects|tools)/\w[\w./-]*\.(?:py|sh)", TEXT)
    named += [f"docs/{target}" for target in re.findall(r"\]\(([\w./]+)\)", TEXT)]
    assert [path for path in set(named) if not (ROOT / path).is_file()] == []


@pytest.mark.parametrize(("config", "options"), DISTINCT)
def test_a_command_builds_what_its_rows_say(config: str, options: tuple) -> None:
    """Every option arrives; a knob that is misspelt or has no effect is refused."""
    cfg = _build(config, options)
    found = {key: cfg for key, _ in options}
    for key, value in options:
        for step in key.split("."):
            found[key] = found[key][int(step) if step.isdigit() else step]
        assert found[key] == value, key
    for row in ROWS:
        if (row.config, row.options) == (config, options):
            check_row(row)


def test_there_are_as_many_rows_as_there_were() -> None:
    assert len(ROWS) >= 140 and len({r.name for r in ROWS}) >= 75


def test_two_runs_never_share_a_work_folder() -> None:
    """Rows that train into one folder train one and the same."""
    runs: dict[str, set] = {}
    for row in ROWS:
        if re.match(r"row |probed |tools/dist_train|python tools/train", row.command):
            chosen = re.search(r"--work-dir work_dirs/(\S+)", row.command)
            said = {(key, float(v) if v == 0 else v) for key, v in row.options}
            run = (row.config, frozenset(said - {("seed", 0)}))
            runs.setdefault(chosen[1] if chosen else row.name, set()).add(run)
    assert len(runs) > 60
    assert {name: found for name, found in runs.items() if len(found) > 1} == {}


def test_random_labels_follow_the_rule_in_tables_3_and_7() -> None:
    """As in the other tables."""
    row = next(r for r in ROWS if r.said.startswith("| LBBT |"))
    assert row.build().train_dataloader.dataset.exclude_true_label
    plan = Config.fromfile(
        ROOT / "projects/paper/configs/sweeps/gpt2-medium_table3_cifar100.py"
    )
    assert plan.options == {"exclude_true_label": True}


def test_checkpoints_are_what_a_row_writes() -> None:
    written = set()
    for row in ROWS:
        epochs = (row.build().get("train_cfg") or {}).get("max_epochs")
        written.add(f"{row.name}/epoch_{epochs}.pth")
    written.add("smollm2-b8_language_random100_6e_fashion-mnist/epoch_6.pth")
    named = set(re.findall(r"work_dirs/([\w.-]+/epoch_\d+\.pth)", TEXT))
    assert len(named) > 8 and named <= written


def test_every_config_of_the_paper_is_named() -> None:
    named = set(re.findall(r"configs/(\S+?\.py)", TEXT))
    wanted = {
        str(p.relative_to(CONFIGS))
        for p in [*LEAVES, *RETRIEVAL, *OBJECTIVES, *SELF_SUPERVISED]
        if p.stem.startswith(("gpt2", "llama", "qwen", "dinov2"))
    }
    assert wanted <= named


def test_every_llava_of_the_paper_is_named() -> None:
    """By the function's arguments, or as a file."""
    named = set(re.findall(r"configs/llava/(\S+?)\.py", TEXT))
    calls = re.findall(r"`llava (\S+) (\S+) (\S+)`", TEXT)
    assert len(calls) == 6
    for model, _, mixture in calls:
        named |= {f"{model}_language_stage1_llava-558k", f"{model}_test"}
        named.add(f"{model}_language_stage2_{mixture}")
    wanted = {p.stem for p in LLAVA if "plain-questions" not in p.stem}
    named.add("langbridge-qwen2-0.5b_test")  # as LLaVA's
    files = {name for name in named if "$" not in name}
    assert files == wanted


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


def check_row(row: Row) -> None:
    """It is what its table says."""
    if measured := re.search(r"(?<= )work_dirs/([\w.-]+)/epoch", row.command):
        # A checkpoint is measured by its own model.
        assert row.name.replace("-bridged-retrieval", "") == measured[1]
    said, cfg = row.said, row.build()
    fields = row.name.split("_")
    if wanted := re.search(r"scratch|Scratch|random blocks|not trained", said):
        scratch = wanted[0] != "not trained"
    elif wanted := re.search(
        r"language|Language|Pretrained|pretrained|GPT-2|, random|15 %", said
    ):
        scratch = False
    else:
        wanted = None
    if wanted and "copies" not in str(cfg.get("custom_hooks")):
        encoder = cfg.model.get("vision_encoder") or cfg.model.get("backbone")
        assert encoder.pretrained != scratch
    elif wanted:
        (hook,) = [h for h in cfg.custom_hooks if "copies" in h]
        assert hook.pretrained != scratch
    if data := re.search(rf"\| ({'|'.join(DATA)}) \|", said):
        assert fields[-1] == DATA[data[1]]
    if classes := re.search(r"(\d+) classes", said):
        assert f"context{classes[1]}" in row.config
    if not re.search(r"/(bridge|sharded)/", row.config):
        return
    ratio = cfg.train_dataloader.dataset.ratio
    if "true labels" in said:
        assert ratio == 0 == cfg.val_dataloader.dataset.ratio
        assert fields[2] == "true"
    elif share := re.search(r"(\d+) %", said):
        assert ratio == int(share[1]) / 100 == cfg.val_dataloader.dataset.ratio
        assert fields[2] == f"random{share[1]}"
    elif "random" in said:
        assert ratio == 1 and fields[2] == "random100"
    part = re.search(r"(first|last) ?(\d+|layer)", said)
    expected = f"{part[1]}:{part[2].replace('layer', '1')}" if part else "all"
    assert cfg.model.backbone.trainable_layers == expected
    models = {"Chronos": "amazon/chronos-t5-large", "Qwen3-8B": "Qwen/Qwen3-8B"}
    models |= {"Qwen3-14B": "Qwen/Qwen3-14B", "LLaMA": "meta-llama/Llama-3.2-1B"}
    (model,) = [m for word, m in models.items() if word in said] or ["gpt2-medium"]
    assert cfg.model.backbone.language_model == model
    rule = cfg.train_dataloader.dataset.exclude_true_label
    if (
        row.command.startswith("row ")
        or "random100" in row.config
        and "8 --" in row.command
    ):
        assert rule and cfg.val_dataloader.dataset.exclude_true_label


def test_measurements_are_those_of_the_contract() -> None:
    contract = (ROOT / "docs/analysis.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(\w+)` \|", contract, flags=re.M))
    named = set(re.findall(r"--only (\w+)", TEXT))
    assert {"outliers", "activation", "landscape", "curvature"} <= named <= known


def test_options_name_knobs_or_keys_of_the_configs() -> None:
    keys = set(re.findall(r"(?<=[ `])((?:[a-z_]+\.)*[a-z_]+)=[\w:+.]+", TEXT))
    optional = {"model.backbone.with_cp", "model.backbone.attention"}
    optional |= {"knob", "label", "split", "data_prefix"}  # of a shell, of the images
    every = [*LEAVES, *RETRIEVAL, *LLAVA, *DENSE]
    assert keys - optional <= {key for path in every for key in flat(path)}


def test_the_function_of_the_page(tmp_path: Path) -> None:
    """``row`` in a shell, with a python that says what it was asked for."""
    function = re.search(r"```bash\n(RULE=.*?)```", TEXT, flags=re.S)[1]
    config = "configs/bridge/gpt2-medium_language_random100_400e_cifar10.py"
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    knobs = "pretrained=False random_ratio=0.15 a.b=1"
    name = "gpt2-medium_scratch_random15_400e_cifar10"
    work_dir = tmp_path / "work_dirs" / name
    work_dir.mkdir(parents=True)
    (work_dir / "last_checkpoint").write_text("here/epoch_400.pth")
    python = f'python() {{ [ "$1" = -m ] && {sys.executable} "$@" || echo "$@"; }}'
    script = f"{python}\n{function}\nrow {config} {knobs}\n"
    said = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    train, test = said.stdout.splitlines()
    law = "seed=0 exclude_true_label=True "
    assert train == f"tools/train.py {config} --cfg-options {law}{knobs}"
    options = f"--cfg-options seed=0 {knobs}"
    assert test == f"tools/test.py {config} here/epoch_400.pth {options}"


def test_the_snippet_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    snippets = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    (snippet,) = (one for one in snippets if "figure12" in one)
    for start in ("language", "scratch"):
        for ratio in (15, 100):
            name = f"gpt2-medium_{start}_random{ratio}_400e_cifar100"
            assert name in {row.name for row in ROWS}
            log = tmp_path / "work_dirs" / name / "run/vis_data/scalars.json"
            log.parent.mkdir(parents=True)
            log.write_text(json.dumps(dict(train_acc=9.0, epoch=1)))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/reproduce.md", "exec"), {})
    assert (tmp_path / "figure12.png").stat().st_size > 0
