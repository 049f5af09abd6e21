"""What the server of forked.py has imported when it forks."""

from __future__ import annotations

import gc
import importlib
import os

import mmengine._strategy  # noqa: F401
import quick_logs
import torch

for _library in ("mmpretrain", "mmdet", "mmseg"):
    for _room in ("datasets", "engine", "evaluation", "models", "visualization"):
        importlib.import_module(f"{_library}.{_room}")
for _room in ("datasets", "hooks", "metrics", "models", "optim", "transplant"):
    importlib.import_module(f"lbbt_mm.{_room}")
torch.set_num_threads(1)
quick_logs.install()
os.fsync = lambda descriptor: None  # as conftest.py
gc.freeze()
