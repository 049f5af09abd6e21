"""tools/build_mmcv.sh with a stand-in for Python, and what it asks of a real one."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
import torch

REPO = Path(__file__).resolve().parents[2]
WHEEL = "onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl"

# A wheel of the stand-in is a file that says which torch it is for; what is installed
# is a copy of it. pip's calls are noted.
STAND_IN = r"""#!/usr/bin/env bash
state=${0%/*}
torch=$(sed -n 2p "$state/facts")
for last; do :; done
case "$*" in
    *"_mmcv_ops.py inspect"*) cat "$state/facts" ;;
    *"_mmcv_ops.py check"*)
        for_torch=$(cat "${6:-$state/installed}" 2>/dev/null)
        [[ $for_torch == "$torch" ]] && exit
        echo "it is for torch $for_torch"
        exit 1 ;;
    *" download "*)
        while [[ $1 != -d ]]; do shift || exit; done
        cp "$state"/offered/*.whl "$2" ;;
    *" install "*)
        echo "$*" >>"$state/calls"
        for word; do
            [[ $word != *.whl ]] || cp "$word" "$state/installed"
        done ;;
    *" wheel "*)
        echo "wheel $* MAX_JOBS=$MAX_JOBS" >>"$state/calls"
        while [[ $1 != --wheel-dir ]]; do shift || exit; done
        mkdir -p "$2"
        cat "$state/builds" >"$2/onedl_mmcv-2.3.6-cp311-cp311-linux_x86_64.whl"
        [[ ! -e $state/killed ]] || kill -9 $PPID
        if [[ -e $state/broken ]]; then echo "error: g++ failed"; exit 1; fi ;;
esac
"""


class Machine:
    """The stand-in, a wheel folder, and what pip finds elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        self.python = root / "python"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        (root / "offered").mkdir()
        self.torch("2.12.1")

    def torch(self, version: str, headers: str = "headers", others: str = "") -> None:
        facts = ["ok", version, "cp311", "cpu", "/no/scripts", headers, "3", others]
        (self.root / "facts").write_text("\n".join(facts) + "\n")
        (self.root / "builds").write_text(version)

    def run(self, *arguments: str, **env: str) -> tuple[int, str, str]:
        """Return the exit status, what was printed and pip's calls."""
        calls = self.root / "calls"
        calls.write_text("")
        defaults = dict(LBBT_WHEELS=str(self.wheels), CXX="bash", MAX_JOBS="")
        done = subprocess.run(
            ["bash", REPO / "tools/build_mmcv.sh", *(arguments or [self.python])],
            env={**os.environ, **defaults, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        return done.returncode, done.stdout, calls.read_text()

    def forget(self) -> None:
        """Leave the environment without mmcv, as a new one is."""
        (self.root / "installed").unlink(missing_ok=True)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    folder = tmp_path / "a machine"  # people have blanks in their paths
    folder.mkdir()
    return Machine(folder)


def test_is_compiled_once_for_each_torch(machine: Machine) -> None:
    status, said, calls = machine.run()
    assert status == 0 and "compiled in 0 min" in said
    (build,) = re.findall("wheel -m .*", calls)
    for option in ("--no-build-isolation", "--no-cache-dir", "--no-deps"):
        assert option in build
    assert "--no-binary onedl-mmcv" in build and "MAX_JOBS=3" in build
    assert (machine.wheels / "torch2.12.1-cp311-cpu" / WHEEL).read_text() == "2.12.1"

    assert "nothing to do" in machine.run()[1]

    machine.forget()
    status, said, calls = machine.run()
    assert status == 0 and "compiled before" in said and "wheel -m" not in calls
    assert "--no-deps --no-index --force-reinstall" in calls

    machine.torch("2.13.0")
    status, said, calls = machine.run()
    assert status == 0 and "wheel -m" in calls
    assert (machine.wheels / "torch2.13.0-cp311-cpu" / WHEEL).exists()
    assert (machine.wheels / "torch2.12.1-cp311-cpu" / WHEEL).exists()


def test_the_build_shows_how_far_it_is() -> None:
    lines = "Collecting setuptools\n[12/78] c++ -MMD -MF a.o.d\nnothing new\n"
    done = subprocess.run(
        ["bash", "-c", "source tools/_install_env.sh; tty=1; follow"],
        cwd=REPO, input=lines, capture_output=True, text=True,
    )  # fmt: skip
    shown = re.findall(r"      (.*)  \d s", done.stdout)
    assert shown == ["looking up setuptools", "compiled [12/78]"]


def test_a_wheel_that_pip_finds_spares_the_build(machine: Machine) -> None:
    (machine.root / "offered" / WHEEL).write_text("2.12.1")
    status, said, calls = machine.run()
    assert status == 0 and "from PIP_FIND_LINKS" in said and "wheel -m" not in calls
    assert (machine.root / "installed").read_text() == "2.12.1"


def test_a_wheel_for_another_torch_is_not_installed(machine: Machine) -> None:
    (machine.root / "offered" / WHEEL).write_text("2.11.0")
    kept = machine.wheels / "torch2.12.1-cp311-cpu" / WHEEL
    kept.parent.mkdir(parents=True)
    kept.write_text("2.10.0")
    status, said, _ = machine.run()
    assert status == 0 and "compiled in" in said
    assert f"{WHEEL} in PIP_FIND_LINKS: it is for torch 2.11.0" in said
    assert f"{kept}: it is for torch 2.10.0" in said
    assert kept.read_text() == "2.12.1"


def test_a_killed_build_leaves_nothing_that_looks_finished(machine: Machine) -> None:
    (machine.root / "killed").touch()
    status, _, calls = machine.run()
    assert status == -9 and "wheel -m" in calls
    assert not list(machine.wheels.glob("*/*.whl"))
    assert not (machine.root / "installed").exists()
    (machine.root / "killed").unlink()
    status, said, calls = machine.run()
    assert status == 0 and "wheel -m" in calls and "compiled in" in said


def test_a_failed_build_shows_why_and_keeps_nothing(machine: Machine) -> None:
    (machine.root / "broken").touch()
    status, said, _ = machine.run()
    assert status == 1 and "error: g++ failed" in said and "build.log" in said
    (machine.root / "broken").unlink()
    (machine.root / "builds").write_text("2.10.0")
    status, said, _ = machine.run()
    assert status == 1 and "was built, but it is for torch 2.10.0" in said
    assert not list(machine.wheels.rglob("*.whl"))
    assert not (machine.root / "installed").exists()


@pytest.mark.parametrize(
    ("facts", "env", "words"),
    [
        (dict(version="2.14.0"), {}, r"torch 2\.14\.0: .*C\+\+20.*\n.*'torch<2\.14'"),
        (dict(version="3.0.0"), {}, r"C\+\+20"),
        (dict(version="2.3.1"), {}, r"needs torch 2\.4 or newer; found torch 2\.3\.1"),
        (dict(others="mmcv 2.1.0"), {}, "^mmcv 2.1.0 is installed.*\n.*uninstall mmcv"),
        (dict(headers="/usr/inc"), {}, "no Python.h in /usr/inc.*\n.*python3-dev"),
        ({}, dict(CXX="no-such-compiler"), "needs a C.. compiler; 'no-such-compiler'"),
        ({}, dict(LBBT_WHEELS="/dev/null/x"), "Cannot write to the wheel folder"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(
    machine: Machine, facts: dict, env: dict, words: str
) -> None:
    machine.torch(**{"version": "2.12.1", **facts})
    status, said, calls = machine.run(**env)
    assert (status, calls) == (1, ""), said
    assert re.search(words, said, flags=re.M), said


def test_a_python_without_torch_is_refused(machine: Machine) -> None:
    (machine.root / "facts").write_text("torch does not import (...)\n")
    status, said, calls = machine.run()
    assert (status, calls) == (1, "") and "Install torch first" in said
    status, said, calls = machine.run("/no/such/python")
    assert (status, calls) == (1, "") and "'/no/such/python' does not run" in said


def test_upstream_is_a_distribution_of_its_own(machine: Machine) -> None:
    machine.torch("2.1.2")
    status, _, calls = machine.run(machine.python, "mmcv==2.1.0")
    assert status == 0 and "--no-binary mmcv " in calls and " mmcv==2.1.0 " in calls
    status, said, _ = machine.run(machine.python, "mmcv")
    assert status == 1 and "Expected DISTRIBUTION==VERSION" in said


# ------------------------------------------------------------- tools/_mmcv_ops.py
HELPER = REPO / "tools/_mmcv_ops.py"


@pytest.fixture(scope="module")
def helper() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mmcv_ops", HELPER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_facts_of_this_python(helper, capsys: pytest.CaptureFixture) -> None:
    helper.inspect("mmcv")
    facts = capsys.readouterr().out.splitlines()
    assert facts[:2] == ["ok", torch.__version__.partition("+")[0]]
    assert facts[2] == f"cp3{sys.version_info[1]}" and int(facts[6]) >= 1
    # The fork has the same import name, so that upstream's would be one too many.
    assert re.fullmatch(r"onedl-mmcv [\d.]+", facts[7])


def test_ops_are_loaded_before_they_are_believed(helper, tmp_path: Path) -> None:
    pins = (REPO / "requirements/constraints.txt").read_text()
    version = re.search(r"^onedl-mmcv==(\S+)", pins, flags=re.M)[1]
    installed = ["check", "onedl-mmcv", version, "cpu"]
    # In a process of its own, as the module of the ops can be loaded once only.
    done = subprocess.run(
        [sys.executable, HELPER, *installed], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    wheel = tmp_path / WHEEL
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("mmcv/__init__.py", "")
    for given in (["0.0.1", "cpu", None], [version, "cpu", str(wheel)]):
        with pytest.raises(SystemExit, match="it has no compiled ops"):
            helper.check("onedl-mmcv", *given)
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("mmcv/_ext.cpython-311-x86_64-linux-gnu.so", "not an ELF")
    with pytest.raises(SystemExit, match="does not load beside torch .*too short"):
        helper.check("onedl-mmcv", version, "cpu", str(wheel))
