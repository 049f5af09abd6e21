"""docs/reproduce.md: its commands run, with stand-ins for the tools that train.

Bash runs the page once, with every command of its tables and blocks. What tools were
asked for is compared with the configs and with what the page says of the command.
"""

from __future__ import annotations

import json
import re
import subprocess
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
DATA = {"cifar10", "cifar100", "tiny-imagenet", "imagenet100", "imagenet1k"}
TOOLS = re.compile(r"(row|big|probed|llava|(un)?bridged|tools/\S+|python) ")
DATA |= {"ade20k", "pascal-context59", "pascal-context60"}
RULE = ("exclude_true_label", True)
# Instead of tools and configs' names: what they are asked for, a line a call.
STANDINS = """
python() {
    if [ "$1 $2" = "-m lbbt_mm.config" ]; then (IFS='|'; echo "<${*:3}>")
    else echo "$@"; fi
}
dist() { echo "$@"; }
cat() { echo "$1"; }
"""


class Call(NamedTuple):
    """One call of a tool, and what the page says of the command that makes it."""

    said: str  # the cells of the row, "" of a block
    words: tuple[str, ...]

    @property
    def config(self) -> str:
        return next(w for w in self.words if re.search(r"configs/\S+\.py$", w))

    @property
    def options(self) -> tuple[tuple[str, object], ...]:
        return parse([w for w in self.words if re.match(r"[\w.]+=", w)])

    @property
    def checkpoint(self) -> str | None:
        found = [w for w in self.words if w.startswith("work_dirs/")]
        return named(found[0]) if found else None

    @property
    def trains(self) -> bool:
        return self.words[0] == "tools/train.py"

    @property
    def name(self) -> str:
        return _name(self.config, self.options)

    def build(self) -> Config:
        return _build(self.config, self.options)


def parse(knobs: list[str]) -> tuple[tuple[str, object], ...]:
    pairs = [knob.split("=", 1) for knob in knobs]
    return tuple((key, DictAction._parse_iterable(value)) for key, value in pairs)


@cache
def _name(config: str, options: tuple) -> str:
    return run_name(ROOT / config, dict(options))


@cache
def _build(config: str, options: tuple) -> Config:
    return load_config(ROOT / config, dict(options))


def expand(cells: list[str], header: list[str], command: str) -> list[tuple[str, str]]:
    """``DATA`` is each column that has a cell, ``INIT`` both initialisations."""
    said = re.sub("`[^`]*`", "", " | ".join(cells))
    found = [(said, command)]
    if "DATA" in command:
        columns = [
            n for n, cell in zip(header, cells, strict=True) if n in DATA and cell
        ]
        found = [(f"{said} | {n}", command.replace("DATA", n)) for n in columns]
    if "INIT" in command:
        both = {"True": "language", "False": "scratch"}
        found = [
            (f"{said} | {word}", command.replace("INIT", knob))
            for said, command in found
            for knob, word in both.items()
        ]
    return found


def read_calls() -> list[Call]:
    """Run the page."""
    script, said = [STANDINS], [""]
    block, table = r"```bash\n.*?```", r"^\|[^\n]*(?:\n\|[^\n]*)*"
    for part in re.findall(f"{block}|{table}", TEXT, flags=re.S | re.M):
        if part.startswith("```bash"):
            script += ["echo @0", part[8:-3]]
            continue
        header, _, *rows = (
            [cell.strip() for cell in line[1:-1].split("|")]
            for line in part.splitlines()
        )
        for cells in rows:
            commands = re.findall(r"`([^`]+)`", " ".join(cells))
            for command in filter(TOOLS.match, commands):
                for words, one in expand(cells, header, command):
                    script += [f"echo @{len(said)}", one]
                    said.append(words)
    text = "\n".join(script)
    text = re.sub(r"tools/dist_(train|test)\.sh", r"dist tools/\1.py", text)
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-300:]
    calls, at = [], 0
    for line in ran.stdout.splitlines():
        if line.startswith("@"):
            at = int(line[1:])
        elif "sweep.py" not in line:
            calls.append(Call(said[at], tuple(line.split())))
    return calls


def named(word: str) -> str:
    """Put the name of a run where the stand-in was asked for it."""
    asked = re.search(r"<(.*)>", word)
    if not asked:
        return word
    config, *knobs = asked[1].split("|")
    return word.replace(asked[0], _name(config, parse(knobs)))


CALLS = read_calls()
DISTINCT = sorted(  # `row` tests what it has trained
    {(call.config, call.options) for call in CALLS if call.words[0] != "tools/test.py"},
    key=str,
)


def test_files_exist() -> None:
    named = re.findall(r"(?:configs|projects|tools)/\w[\w./-]*\.(?:py|sh)", TEXT)
    lost = [p for p in set(named) if "DATA" not in p and not (ROOT / p).is_file()]
    assert lost == []


@pytest.mark.parametrize(("config", "options"), DISTINCT)
def test_a_command_builds_what_the_page_says(config: str, options: tuple) -> None:
    """Every option arrives; a knob that is misspelt or has no effect is refused."""
    cfg = _build(config, options)
    found = {key: cfg for key, _ in options}
    for key, value in options:
        for step in key.split("."):
            found[key] = found[key][int(step) if step.isdigit() else step]
        assert found[key] == value, key
    for call in CALLS:
        if (call.config, call.options) == (config, options):
            check_call(call)


def test_there_are_as_many_commands_as_there_were() -> None:
    assert len(CALLS) >= 190
    assert len({call.name for call in CALLS}) >= 75
    assert sum(call.trains for call in CALLS) >= 100


def test_two_runs_never_share_a_work_folder() -> None:
    """Commands that train into one folder train one and the same."""
    runs: dict[str, set] = {}
    for call in CALLS:
        if call.trains and "val_dataloader.dataset.ratio" not in dict(call.options):
            said = {(key, float(v) if v == 0 else v) for key, v in call.options}
            run = (call.config, frozenset(said - {("seed", 0), ("pretrained", True)}))
            runs.setdefault(call.name, set()).add(run)
    assert len(runs) > 60
    assert {name: found for name, found in runs.items() if len(found) > 1} == {}


def test_random_labels_follow_the_rule_in_tables_3_and_7() -> None:
    """As in the other tables."""
    call = next(call for call in CALLS if call.said.startswith("LBBT |"))
    assert call.build().train_dataloader.dataset.exclude_true_label
    plan = Config.fromfile(
        ROOT / "projects/paper/configs/sweeps/gpt2-medium_table3_cifar100.py"
    )
    assert plan.options == {"exclude_true_label": True}


def test_checkpoints_are_what_a_command_writes() -> None:
    written = {f"{call.name}/last_checkpoint" for call in CALLS if call.trains}
    for call in CALLS:
        if call.trains:
            epochs = (call.build().get("train_cfg") or {}).get("max_epochs")
            written.add(f"{call.name}/epoch_{epochs}.pth")
    named = {call.checkpoint for call in CALLS} - {None}
    named |= set(re.findall(r"work_dirs/[\w.-]+/epoch_\d+\.pth", TEXT))
    assert len(named) > 70
    assert {path.removeprefix("work_dirs/") for path in named} <= written


def test_every_config_of_the_paper_is_named() -> None:
    named = {call.config for call in CALLS}
    named |= set(re.findall(r"configs/\S+?\.py", TEXT))
    wanted = {
        str(p.relative_to(ROOT))
        for p in [*LEAVES, *RETRIEVAL, *OBJECTIVES, *SELF_SUPERVISED]
        if p.stem.startswith(("gpt2", "llama", "qwen", "dinov2"))
    }
    wanted |= {
        str(p.relative_to(ROOT))
        for p in DENSE
        if p.parent == CONFIGS
        or "vit-t" in p.stem
        or "_language_" in p.stem
        and p.parent.name == "detr"
        and "fashion-scenes" not in p.stem
    }
    assert wanted <= named


def test_every_llava_of_the_paper_is_named() -> None:
    named = {call.config for call in CALLS}
    named |= set(re.findall(r"configs/llava/\S+?\.py", TEXT))
    found = {Path(path).stem for path in named if "/llava/" in path and "$" not in path}
    wanted = {p.stem for p in LLAVA if "plain-questions" not in p.stem}
    assert found | {"langbridge-qwen2-0.5b_test"} == wanted  # tested as LLaVA's


def check_call(call: Call) -> None:
    """It is what the page says of it."""
    said, cfg = call.said, call.build()
    if call.checkpoint and "llava" not in call.config:
        # A checkpoint is measured by its own model.
        measured = call.checkpoint.split("/")[1]
        assert call.name.replace("-bridged-retrieval", "") == measured
    fields = call.name.split("_")
    starts = {word.lower() for word in re.findall("(?i)scratch|language", said)}
    if len(starts) == 1 and call.words[0] != "tools/test.py":
        (hook,) = [h for h in cfg.get("custom_hooks", []) if "copies" in h] or [None]
        encoder = cfg.model.get("vision_encoder") or cfg.model.get("backbone")
        assert (hook or encoder).pretrained == (starts == {"language"})
    if said.rpartition(" | ")[2] in DATA:
        assert fields[-1] == said.rpartition(" | ")[2]
    if not re.search(r"/(bridge|sharded)/", call.config) or not said:
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
    part = re.search(r"(first|last) (\d+)", said)
    expected = f"{part[1]}:{part[2]}" if part else "all"
    assert cfg.model.backbone.trainable_layers == expected
    models = {"Chronos": "amazon/chronos-t5-large", "Qwen3-8B": "Qwen/Qwen3-8B"}
    models |= {"Qwen3-14B": "Qwen/Qwen3-14B", "LLaMA": "meta-llama/Llama-3.2-1B"}
    (model,) = [m for word, m in models.items() if word in said] or ["gpt2-medium"]
    assert cfg.model.backbone.language_model == model
    if call.trains:
        rule = cfg.train_dataloader.dataset.exclude_true_label
        assert rule and cfg.val_dataloader.dataset.exclude_true_label


def test_measurements_are_those_of_the_contract() -> None:
    contract = (ROOT / "docs/analysis.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^\| `(\w+)` \|", contract, flags=re.M))
    asked = [call.words for call in CALLS if "--only" in call.words]
    named = {words[words.index("--only") + 1] for words in asked}
    assert {"outliers", "activation", "landscape", "curvature"} <= named <= known


def test_options_name_knobs_or_keys_of_the_configs() -> None:
    keys = set(re.findall(r"(?<=[ `])((?:[a-z_]+\.)*[a-z_]+)=[\w:+.]+", TEXT))
    optional = {"model.backbone.with_cp", "model.backbone.attention"}
    optional |= {"knob", "label", "split", "data_prefix"}  # of a shell, of the images
    every = [*LEAVES, *RETRIEVAL, *LLAVA, *DENSE]
    assert keys - optional <= {key for path in every for key in flat(path)}


def test_the_snippet_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    matplotlib.use("Agg")
    snippets = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    (snippet,) = (one for one in snippets if "figure12" in one)
    for start in ("language", "scratch"):
        for ratio in (15, 100):
            name = f"gpt2-medium_{start}_random{ratio}_400e_cifar100"
            assert name in {call.name for call in CALLS}
            log = tmp_path / "work_dirs" / name / "run/vis_data/scalars.json"
            log.parent.mkdir(parents=True)
            log.write_text(json.dumps(dict(train_acc=9.0, epoch=1)))
    monkeypatch.chdir(tmp_path)
    exec(compile(snippet, "docs/reproduce.md", "exec"), {})
    assert (tmp_path / "figure12.png").stat().st_size > 0
