"""What tools/build_mmcv.sh asks a Python about its torch and its mmcv.

Runs in any environment that has torch, whether or not mmcv's own dependencies
(mmengine, OpenCV) are installed: the compiled module is loaded by its file.
"""

from __future__ import annotations

import glob
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
import tempfile
import zipfile
from types import ModuleType

DISTRIBUTIONS = ("onedl-mmcv", "mmcv", "mmcv-full", "mmcv-lite")  # one import name
COMPILER_MEMORY = 2 * 2**30  # bytes; the largest of mmcv's files takes 1.5 GB


def inspect(distribution: str) -> None:
    """Print one fact a line, in the order in which build_mmcv.sh reads them."""
    try:
        import torch
    except Exception as error:  # a broken torch fails in several ways
        print(f"torch does not import ({type(error).__name__}: {error})")
        return
    gpu = torch.cuda.is_available() or os.environ.get("FORCE_CUDA") == "1"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    jobs = max(1, min(os.cpu_count(), memory // COMPILER_MEMORY))
    others = []
    for other in set(DISTRIBUTIONS) - {distribution}:
        if version := _installed(other):
            others.append(f"{other} {version}")
    print("ok")
    print(torch.__version__.partition("+")[0])
    print(f"cp{sys.version_info[0]}{sys.version_info[1]}")
    print(f"cuda{torch.version.cuda or ''}" if gpu else "cpu")
    print(sysconfig.get_path("scripts"))
    headers = sysconfig.get_path("include")
    print("headers" if os.path.isfile(f"{headers}/Python.h") else headers)
    print(jobs)
    print(", ".join(others))


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def check(distribution: str, version: str, device: str, wheel: str | None) -> None:
    """Exit with the reason unless the ops load beside this torch.

    Args:
        distribution: Which distribution of mmcv; the import name is always `mmcv`.
        version: Its version.
        device: `cpu` accepts any ops, anything else those compiled for a GPU.
        wheel: A wheel that is not installed, or None for what is installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        if wheel is not None:
            with zipfile.ZipFile(wheel) as archive:
                for name in archive.namelist():
                    if name.startswith("mmcv/_ext."):
                        archive.extract(name, folder)
            folder = f"{folder}/mmcv"
        elif _installed(distribution) == version:
            (folder,) = importlib.util.find_spec("mmcv").submodule_search_locations
        files = glob.glob(f"{glob.escape(folder)}/_ext.*")
        if not files:
            sys.exit("it has no compiled ops")
        try:
            ops = _load(files[0])
        except ImportError as error:
            import torch

            reason = str(error).replace(f"{files[0]}: ", "")
            sys.exit(f"it does not load beside torch {torch.__version__} ({reason})")
        if device != "cpu" and ops.get_compiling_cuda_version() == "not available":
            sys.exit("its ops are compiled for the CPU only")


def _load(path: str) -> ModuleType:
    import torch  # noqa: F401  (its libraries must be there first)

    spec = importlib.util.spec_from_file_location("mmcv._ext", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    if sys.argv[1] == "inspect":
        inspect(sys.argv[2])
    else:
        check(*sys.argv[2:5], wheel=sys.argv[5] if len(sys.argv) > 5 else None)
