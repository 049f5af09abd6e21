"""Commands of README and docs: the files that they name exist, and their options."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What has names of other days in it, on purpose.
OLD = ("CHANGELOG.md", "compatibility.md")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "configs/**/*.md", "projects/*/*.md")
    for path in ROOT.glob(pattern)
    if path.name not in OLD
)
FOLDERS = "tools|projects|benchmarks|examples|configs|lbbt_mm"
FILE = re.compile(rf"(?<![\w/.-])((?:{FOLDERS})/[\w./+-]+\.(?:py|sh))\b")
STARTS = {  # a shell script -> the tool that its options go to
    "tools/dist_train.sh": "tools/train.py",
    "tools/dist_test.sh": "tools/test.py",
    "tools/slurm_train.sh": "tools/train.py",
    "tools/slurm_test.sh": "tools/test.py",
    "tools/quickstart.sh": "tools/quickstart.py",
}
OTHERS = {"tools/kfold-cross-valid.py"}  # of mmpretrain


def commands(page: Path) -> Iterator[str]:
    """Lines of the blocks of a page, and what stands between backticks."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for block in re.findall(r"```(?:bash|sh|text)?\n(.*?)```", text, re.DOTALL):
        yield from (line.split(" #")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", text)


def named_files(command: str) -> list[str]:
    found = FILE.findall(command)
    return [
        name
        for name in found
        if not re.search("NAME|DATA", name) and name not in OTHERS
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_commands_name_exist(page: Path) -> None:
    lost = {
        name
        for command in commands(page)
        for name in named_files(command)
        if not (ROOT / name).is_file() and not (page.parent / name).is_file()
    }
    assert not lost


def used_options() -> dict[str, set[str]]:
    """Script -> the options that pages give it."""
    used: dict[str, set[str]] = {}
    for command in (command for page in PAGES for command in commands(page)):
        found = FILE.search(command)
        if not found or found[1].startswith(("configs", "lbbt_mm")):
            continue
        script = STARTS.get(found[1], found[1])
        rest = re.split(r"[|;&]", command[found.end() :])[0]
        options = set(re.findall(r"(?<=\s)--[a-z][\w-]*", rest)) - {"--help"}
        if options and script.endswith(".py"):
            used.setdefault(script, set()).update(options)
    return used


USED = used_options()


def test_commands_are_found() -> None:
    assert {"tools/train.py", "tools/analyze.py", "projects/paper/sweep.py"} <= set(
        USED
    )
    assert "--cfg-options" in USED["tools/train.py"]


TOOLS = sorted(
    path.name
    for path in (ROOT / "tools").glob("[!_]*.py")
    if path.name != "sweep.py"  # only passes on
)


@pytest.mark.parametrize("name", TOOLS)
def test_help_ends_with_an_example(name: str, monkeypatch, capsys) -> None:
    """Its files are there, or made by the commands before, and it parses."""
    path = ROOT / "tools" / name
    monkeypatch.setattr(sys, "path", [str(ROOT / "tools"), *sys.path])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    said = capsys.readouterr().out.replace("\\\n", " ")
    example = said.partition("example:")[2].strip()
    start = "bash tools/quickstart.sh" if name == "quickstart.py" else "python tools/"
    assert example.startswith(start), said
    assert all((ROOT / file).is_file() for file in named_files(example))
    options = set(re.findall(r"(?<=\s)--[a-z][\w-]*", example))
    assert options <= set(re.findall(r"--[a-z][\w-]*", said.partition("example:")[0]))


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted(USED))
def test_options_that_commands_give_exist(script: str) -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / script), "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert said.returncode == 0, said.stderr
    assert USED[script] <= set(re.findall(r"--[a-z][\w-]*", said.stdout))
