"""What an installed lbbt_mm contains and asks for, and how its environment is made."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
PYTHONS = ("3.10", "3.11", "3.12")


def requirement_lines(path):
    """Requirements of one file, without following its `-r` lines."""
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in path.open())
    return [Requirement(line) for line in lines if line and not line.startswith("-r ")]


def copy_tree(target):
    """Copy what packaging reads, and not the gigabytes of .venv beside it."""
    target.mkdir()
    for name in ("lbbt_mm", "configs", "tools", "requirements"):
        if (ROOT / name).is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, target / name, ignore=ignore)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, target)
    return target


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Names in the sdist, names in the wheel, metadata of the wheel."""
    tree = copy_tree(tmp_path_factory.mktemp("packaging") / "tree")
    # The wheel is built from the unpacked sdist, as it is for whoever has no git.
    run = dict(check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    subprocess.run([sys.executable, "setup.py", "-q", "sdist"], cwd=tree, **run)
    (sdist,) = (tree / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    shutil.unpack_archive(sdist, tree / "dist")
    source = sdist.with_name(sdist.name.removesuffix(".tar.gz"))
    before = {path.relative_to(source) for path in (source / "lbbt_mm").rglob("*")}
    subprocess.run([sys.executable, "setup.py", "-q", "bdist_wheel"], cwd=source, **run)
    after = {path.relative_to(source) for path in (source / "lbbt_mm").rglob("*")}
    assert after == before, "building a wheel wrote into the source tree"
    (wheel,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
        (metadata,) = (n for n in in_wheel if n.endswith(".dist-info/METADATA"))
        parsed = Parser().parsestr(archive.read(metadata).decode())
    return in_sdist, in_wheel, parsed


def source_files(folder, pattern="*"):
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_wheel_carries_package_configs_and_tools(built):
    _, in_wheel, _ = built
    assert source_files("lbbt_mm") <= in_wheel
    carried = source_files("configs") | source_files("tools")
    assert "tools/environment.sh" in carried
    assert {f"lbbt_mm/.mim/{name}" for name in carried} <= in_wheel
    outside = {
        name for name in in_wheel if not re.match(r"lbbt_mm(-.*\.dist-info)?/", name)
    }
    assert not outside, "the wheel would install something beside lbbt_mm"


def test_sdist_carries_what_a_build_reads(built):
    in_sdist, _, _ = built
    expected = {"setup.py", "pyproject.toml", "LICENSE"}
    expected |= source_files("requirements") | source_files("configs")
    expected |= source_files("tools") | source_files("lbbt_mm")
    assert expected <= in_sdist


def test_an_editable_install_is_found_above_a_clone_of_its_name(tmp_path):
    """There, Python takes the clone for a package without an __init__.py."""
    tree, site = tmp_path / "lbbt_mm", tmp_path / "site"
    tree.mkdir(), site.mkdir()
    for name in ("setup.py", "pyproject.toml", "requirements"):
        (tree / name).symlink_to(ROOT / name)
    (tree / "README.md").touch()
    (tree / "lbbt_mm").mkdir()
    (tree / "lbbt_mm" / "__init__.py").write_text("here = True\n")
    (tree / "lbbt_mm" / "version.py").write_text("__version__ = '1'\n")
    build = f"import setuptools.build_meta as b; print(b.build_editable({str(site)!r}))"
    subprocess.run([sys.executable, "-c", build], cwd=tree, check=True)
    (wheel,) = site.glob("*.whl")
    shutil.unpack_archive(wheel, site, "zip")
    code = f"import site; site.addsitedir({str(site)!r}); import lbbt_mm; lbbt_mm.here"
    subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}",
        ],
        check=True,
    )


def test_metadata(built):
    _, _, metadata = built
    scope = {}
    version = (ROOT / "lbbt_mm/version.py").read_text()
    exec(re.search(r"^__version__ = .*$", version, re.M)[0], scope)
    assert metadata["Version"] == scope["__version__"]
    assert metadata["License-File"] == "LICENSE"
    for python in PYTHONS:
        assert python in str(metadata.get_all("Classifier"))


def test_neither_fork_nor_upstream_is_a_hard_dependency(built):
    _, _, metadata = built
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist")]
    names = {canonicalize_name(r.name) for r in required}
    upstream = {"mmcv", "mmcv-full", "mmengine", "mmdet", "mmsegmentation"}
    assert not names & (upstream | {"mmpretrain", "mmcls", "openmim"})
    always = {
        canonicalize_name(r.name)
        for r in required
        if r.marker is None or r.marker.evaluate({"extra": ""})
    }
    assert {"torch", "numpy", "safetensors", "pillow"} <= always
    assert not {"transformers", "matplotlib", "scikit-learn", "gguf"} & always
    assert not [name for name in always if name.startswith(("onedl", "mm"))]
    offered = {"pretrain", "segmentation", "detection", "multimodal", "tests", "all"}
    offered |= {"gguf", "analysis", "report", "demo"}
    assert offered <= set(metadata.get_all("Provides-Extra"))


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_requirement(python):
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    pins = {}
    for pin in requirement_lines(REQUIREMENTS / "constraints.txt"):
        if pin.marker and not pin.marker.evaluate(environment):
            continue
        name = canonicalize_name(pin.name)
        assert name not in pins, f"{name} is pinned twice for CPython {python}"
        assert re.fullmatch(r"==[\w.!+-]+", str(pin.specifier)), f"not exact: {pin}"
        pins[name] = next(iter(pin.specifier)).version
    pinned = {REQUIREMENTS / "constraints.txt", REQUIREMENTS / "upstream.txt"}
    for path in set(REQUIREMENTS.glob("*.txt")) - pinned:
        for wanted in requirement_lines(path):
            name = canonicalize_name(wanted.name)
            assert name in pins, (
                f"{path.name} asks for {name}; constraints.txt does not"
            )
            assert wanted.specifier.contains(pins[name], prereleases=True), (
                f"{path.name} asks for {wanted}; constraints.txt pins {pins[name]}"
            )
    # The two share their files: other than equal, they would overwrite each other.
    assert pins["opencv-python"] == pins["opencv-python-headless"]


def test_upstream_is_frozen_and_within_our_ranges():
    pins = {
        canonicalize_name(pin.name): pin
        for pin in requirement_lines(REQUIREMENTS / "upstream.txt")
    }
    for pin in pins.values():
        assert re.fullmatch(r"==[\w.!+-]+", str(pin.specifier)), f"not exact: {pin}"
    assert not [name for name in pins if name.startswith("onedl")]
    for name in ("runtime", "gguf", "analysis", "report", "data"):
        for wanted in requirement_lines(REQUIREMENTS / f"{name}.txt"):
            pin = next(iter(pins[canonicalize_name(wanted.name)].specifier)).version
            assert wanted.specifier.contains(pin), f"{wanted}; upstream.txt pins {pin}"
    assert pins["opencv-python"].specifier == pins["opencv-python-headless"].specifier


# ------------------------------------------------------------ tools/environment.sh
# A stand-in for CPython: makes a .venv that consists of itself, and instead of
# installing notes what it was asked for.
STAND_IN = r"""#!/usr/bin/env bash
case "$*" in
    *platform*) cat "$0.version" ;;
    *"-m venv"*)
        for venv; do :; done
        mkdir -p $venv/bin && cp "$0" "$0.version" $venv/bin/ &&
        mv $venv/bin/"${0##*/}" $venv/bin/python &&
        mv $venv/bin/"${0##*/}".version $venv/bin/python.version ;;
    *"_mmcv_ops.py inspect"*) printf '%s\n' ok 2.12.1 cp311 cpu /bin headers 1 '' ;;
    *"_mmcv_ops.py check"*) echo "ops of ${*:3:2}" >>calls ;;
    *" install "*)
        echo "${*##* install }" >>calls
        if [[ -e break && "$*" == *"$(cat break)"* ]]; then
            echo "ERROR: no space left on device"
            exit 1
        fi ;;
esac
"""


class Environment:
    """A copy of the tree in which tools/environment.sh meets the stand-in."""

    def __init__(self, tree):
        self.tree = tree
        self.calls = tree / "calls"

    def stand_in(self, version, name="stand-in"):
        path = self.tree / name
        path.write_text(STAND_IN)
        path.chmod(0o755)
        path.with_name(f"{name}.version").write_text(version)
        return path

    def run(self, kind, python=None):
        """Return the exit status, what was printed and pip's calls."""
        self.calls.unlink(missing_ok=True)
        env = {k: v for k, v in os.environ.items() if k != "LBBT_PYTHON"}
        if python:
            env["LBBT_PYTHON"] = str(python)
        done = subprocess.run(
            ["bash", "tools/environment.sh", kind],
            cwd=self.tree,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        return done.returncode, done.stdout, calls


@pytest.fixture
def environment(tmp_path):
    # A blank in the path, since people have those.
    return Environment(copy_tree(tmp_path / "a tree"))


def test_second_call_installs_nothing(environment):
    python = environment.stand_in("3.11.7")
    status, said, calls = environment.run("quickstart", python)
    assert status == 0 and "ready in" in said
    assert any("torch" in call for call in calls)
    assert any("--no-deps" in call and "data.txt" in call for call in calls)
    assert calls[-1].endswith("-e .")
    for again in (python, None):
        status, said, calls = environment.run("quickstart", again)
        assert (status, calls) == (0, []) and "nothing to install" in said


def test_environment_of_the_tests_serves_the_quickstart_and_not_vice_versa(environment):
    python = environment.stand_in("3.12.1")
    assert environment.run("quickstart", python)[0] == 0
    status, _, calls = environment.run("tests")
    assert status == 0 and any("requirements/tests.txt" in call for call in calls)
    assert environment.run("quickstart")[2] == []


def test_only_the_tests_have_compiled_ops(environment):
    _, _, calls = environment.run("quickstart", environment.stand_in("3.11.7"))
    assert not any(call.startswith("ops") for call in calls)
    assert any(re.search("--no-cache-dir .*onedl-mmcv", call) for call in calls)
    _, _, calls = environment.run("tests")
    torch, ops, rest = (
        next(i for i, call in enumerate(calls) if words in call)
        for words in (" torch ", "ops of onedl-mmcv 2.", "requirements/tests.txt")
    )
    assert torch < ops < rest, "mmcv is compiled against torch; pip would do it without"
    assert not any("--no-deps onedl-mmcv" in call for call in calls)


def test_upstream_lies_beside_and_needs_its_own_python(environment):
    assert environment.run("tests", environment.stand_in("3.11.7"))[0] == 0
    status, said, calls = environment.run("upstream", environment.stand_in("3.11.7"))
    assert (status, calls) == (1, []) and "need CPython 3.10; " in said
    status, said, calls = environment.run("upstream", environment.stand_in("3.10.2"))
    assert status == 0 and "ops of mmcv 2." in " ".join(calls)
    assert any("--no-deps -r requirements/upstream.txt" in call for call in calls)
    assert not any("onedl" in call for call in calls)
    assert (environment.tree / ".venv-upstream/bin/python").exists()
    assert environment.run("upstream")[2] == environment.run("tests")[2] == []


def test_changed_requirements_are_installed(environment):
    assert environment.run("quickstart", environment.stand_in("3.10.13"))[0] == 0
    with (environment.tree / "requirements/constraints.txt").open("a") as file:
        file.write("something==1.0\n")
    assert environment.run("quickstart")[2] != []
    assert environment.run("quickstart")[2] == []


def test_failure_shows_why_and_the_next_call_repairs(environment):
    (environment.tree / "break").write_text("requirements/quickstart.txt")
    status, said, calls = environment.run("quickstart", environment.stand_in("3.11.7"))
    assert status != 0 and "quickstart.txt" in calls[-1]
    assert "no space left on device" in said and "same command again" in said
    (environment.tree / "break").unlink()
    status, said, calls = environment.run("quickstart")
    assert status == 0 and calls[-1].endswith("-e .")


def test_damaged_environment_is_made_anew(environment):
    python = environment.stand_in("3.11.7")
    assert environment.run("quickstart", python)[0] == 0
    (environment.tree / ".venv/bin/python").unlink()
    status, said, calls = environment.run("quickstart", python)
    assert status == 0 and calls and "ready in" in said


@pytest.mark.parametrize("version", ["3.9.18", "3.13.0", ""])
def test_unfit_python_is_refused(environment, version):
    status, said, calls = environment.run("tests", environment.stand_in(version))
    assert (status, calls) == (1, [])
    assert "needs CPython 3.10, 3.11 or 3.12" in said and "LBBT_PYTHON=" in said


def test_another_python_than_the_environment_has_is_refused(environment):
    assert environment.run("tests", environment.stand_in("3.11.7"))[0] == 0
    other = environment.stand_in("3.12.1", "other")
    status, said, calls = environment.run("tests", other)
    assert (status, calls) == (1, [])
    assert "3.12.1" in said and "3.11.7" in said and "Delete .venv" in said


def test_unknown_kind_prints_the_usage(environment):
    status, said, calls = environment.run("everything")
    assert (status, calls) == (2, []) and "tools/environment.sh quickstart" in said
