"""What all shell scripts of tools/ have in common."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SCRIPTS = sorted(path for path in TOOLS.glob("*.sh") if path.name[0] != "_")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_sh_hands_over_to_bash(script: Path) -> None:
    """People type sh; dash, which Debian calls so, would stop at 'pipefail'."""
    code = [line for line in script.read_text().splitlines() if line[:1] != "#"]
    assert code[0].startswith('[ -n "${BASH_VERSION:-}" ] || exec bash "$0" "$@"')


@pytest.mark.parametrize("name", ["build_mmcv.sh", "environment.sh", "quickstart.sh"])
def test_help_by_sh(name: str) -> None:
    said = subprocess.run(
        ["sh", str(TOOLS / name), "--help"], capture_output=True, text=True
    )
    assert (said.returncode, said.stderr) == (0, "") and "bash tools/" in said.stdout


@pytest.mark.parametrize("script", TOOLS.glob("*.sh"), ids=lambda path: path.name)
def test_cores_are_counted_on_a_mac_too(script: Path) -> None:
    for line in script.read_text().splitlines():
        assert "$(nproc" not in line or "sysctl -n hw.ncpu" in line
