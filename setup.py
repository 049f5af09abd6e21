"""What the package needs, and which files travel in it; pyproject.toml has the rest."""

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# OpenMMLab's convention: what lies beside a package in its repository lies in
# PACKAGE/.mim/ once it is installed.
MIM_FOLDERS = ("configs", "tools")


def read(name):
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def requirements(name):
    """Return the lines of requirements/NAME.txt, with its `-r` lines resolved."""
    lines = []
    for line in read(f"requirements/{name}.txt").splitlines():
        line = re.sub(r"(^|\s)#.*", "", line).strip()
        if line.startswith("-r "):
            lines += requirements(line[3:].strip().removesuffix(".txt"))
        elif line:
            lines.append(line)
    return list(dict.fromkeys(lines))


class BuildWithMim(build_py):
    """Copies configs and tools into the built package, never into the source tree.

    An editable install needs no copy: there they lie beside the package.
    """

    def run(self):
        super().run()
        if getattr(self, "editable_mode", False):
            return
        mim = Path(self.build_lib) / "lbbt_mm" / ".mim"
        shutil.rmtree(mim, ignore_errors=True)  # left by an earlier build
        for folder in MIM_FOLDERS:
            if (ROOT / folder).is_dir():
                shutil.copytree(
                    ROOT / folder,
                    mim / folder,
                    ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"),
                )


EXTRAS = (
    "pretrain",
    "segmentation",
    "detection",
    "multimodal",
    "gguf",
    "analysis",
    "report",
    "demo",
)
DEVELOPERS = ("docs", "tests")

extras = {name: requirements(name) for name in (*EXTRAS, *DEVELOPERS)}
extras["all"] = sorted({line for name in EXTRAS for line in extras[name]})

setup(
    license="Apache-2.0",
    install_requires=requirements("runtime"),
    extras_require=extras,
    cmdclass={"build_py": BuildWithMim},
)
