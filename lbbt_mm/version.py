"""The version of this package, and which versions of its neighbours it works with."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from importlib import metadata
from types import ModuleType
from typing import Any

__version__ = "0.2.0"

# module name -> (at least, below, known bad releases, how to install).
# Versions are read from the module where it says one: the maintained fork (`onedl-*`)
# and upstream share import names but not distribution names.
_SUPPORTED: dict[str, tuple[str, str, tuple[str, ...], str]] = {
    "mmengine": ("0.10.3", "1.0", ("0.10.11",), "pip install onedl-mmengine"),
    "mmcv": ("2.1.0", "3.0", (), "pip install onedl-mmcv"),
    "mmpretrain": ("1.2.0", "2.0", (), "pip install onedl-mmpretrain"),
    "mmseg": ("1.2.0", "2.0", (), "pip install onedl-mmsegmentation"),
    "peft": ("0.12.0", "1.0", (), 'pip install "peft<1"'),
    "transformers": ("4.45.0", "5.0", (), 'pip install "transformers<5"'),
    "imagecorruptions": (
        "1.1.0",
        "2.0",
        (),
        "pip install imagecorruptions-imaug",
    ),
    "gguf": ("0.10.0", "1.0", (), "pip install gguf"),
    "matplotlib": ("3.5.0", "4.0", (), "pip install matplotlib"),
    "gradio": ("6.0.0", "7.0", (), 'pip install ".[demo]"'),
    "jinja2": ("3.0.0", "4.0", (), "pip install jinja2"),
    "sklearn": ("1.3.0", "2.0", (), "pip install scikit-learn"),
    "mmdet": (
        "3.2.0",
        "4.0",
        (),
        # With mmcv's compiled ops, which pip alone leaves out.
        "bash tools/build_mmcv.sh && pip install onedl-mmdetection",
    ),
}


def _as_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def require(name: str, purpose: str) -> ModuleType:
    """Import a library that not every user has, or say in one sentence how to get it.

    Args:
        name: Import name, for example ``'mmpretrain'``.
        purpose: What needs it; completes the sentence "... needs mmpretrain".

    Returns:
        The imported module.

    Raises:
        ImportError: It is missing, does not import, or its version was never tested.
    """
    low, high, bad, install = _SUPPORTED[name]
    try:
        module = importlib.import_module(name)
        if name == "mmdet":  # imports without the ops, mmdet.models does not
            importlib.import_module("mmcv.ops")
    except Exception as error:  # ops of another torch fail in several ways
        reason = f"{type(error).__name__}: {error}"
        if "mmcv._ext" in reason:
            reason = "mmcv was installed without its compiled ops"
        raise ImportError(
            f"{purpose} needs {name}>={low},<{high}, which does not import here "
            f"({reason}). Install it with: {install}"
        ) from error
    found = getattr(module, "__version__", None) or metadata.version(
        metadata.packages_distributions().get(name, [name])[0]
    )
    if not _as_tuple(low) <= _as_tuple(found) < _as_tuple(high) or found in bad:
        without = f", not {', '.join(bad)}" if bad else ""
        raise ImportError(
            f"{purpose} needs {name}>={low},<{high}{without}; found {found}. "
            f"Install another one with: {install}"
        )
    return module


def require_scope(cfg: Mapping[str, Any], config: str) -> None:
    """Import the library that a config is written for, or say how to get it.

    Args:
        cfg: Its content.
        config: Its name, for the message.

    Raises:
        ImportError: As :func:`require`.
    """
    scope = cfg.get("default_scope")
    if scope in _SUPPORTED:
        require(scope, config)
