"""The device that ``benchmarks/gpu.py`` measures, and how."""

from __future__ import annotations

import gc
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

Row = dict[str, Any]


class Machine:
    """The device and what is measured about it."""

    def __init__(self, sizes: dict[str, Any], minutes: float, folder: Path) -> None:
        self.sizes, self.folder = sizes, folder
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.on_gpu = self.device == "cuda"
        self.ends = time.monotonic() + 60 * minutes
        self.rate = math.nan  # operations a second, of the model's own products
        self.tokens = (sizes["image"] // sizes["patch"]) ** 2
        self.runs = 0
        self.kept: tuple[Any, nn.Module] | None = None

    def keep(self, key: Any, build: Callable[[], nn.Module]) -> nn.Module:
        """Build a model, unless it is the last one: drawing weights takes seconds."""
        if self.kept is None or self.kept[0] != key:
            self.kept = None
            self.clean()
            self.kept = key, build().to(self.device)
        for parameter in self.kept[1].parameters():
            parameter.grad = None
        return self.kept[1].train()

    def wait(self) -> None:
        """Until the device has done all that it was given."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def clean(self) -> None:
        """Give memory back, and forget the peak."""
        gc.collect()
        if self.on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak_mib(self) -> float | None:
        """Most memory that tensors had at once, since the last cleaning."""
        return torch.cuda.max_memory_allocated() / 2**20 if self.on_gpu else None

    def stamp(self) -> Any:
        """A moment of the device's time."""
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, stamps: list[Any]) -> list[float]:
        """Milliseconds from each stamp to the next."""
        self.wait()
        pairs = zip(stamps, stamps[1:], strict=False)
        if self.on_gpu:
            return [one.elapsed_time(two) for one, two in pairs]
        return [1e3 * (two - one) for one, two in pairs]

    def time(self, step: Callable[[], Any]) -> list[float]:
        """Milliseconds of steps in a row, after some that warm up."""
        step()
        self.wait()
        start = time.perf_counter()
        step()
        self.wait()
        once = max(time.perf_counter() - start, 1e-6)
        count = min(self.sizes["steps"], max(3, int(self.sizes["seconds"] / once)))
        stamps = [self.stamp()]
        for _ in range(count):
            step()
            stamps.append(self.stamp())
        return self.between(stamps)

    def row(self, times: list[float], images: int, **names: Any) -> Row:
        """The numbers of a training step."""
        ms = statistics.median(times)
        share = self.products(images) / (ms / 1e3) / self.rate
        return names | dict(
            ms=ms, ms_from=min(times), ms_to=max(times),
            images_a_second=1e3 * images / ms,
            share_of_peak=share, peak_mib=self.peak_mib(),
        )  # fmt: skip

    def products(self, images: int) -> float:
        """Operations of a step in matrix products, as if nothing were masked."""
        width, blocks, tokens = self.sizes["width"], self.sizes["blocks"], self.tokens
        weights = 12 * width**2 * blocks
        return 6 * images * tokens * (weights + 2 * blocks * tokens * width)


def read_trace(trace: Path, count: int) -> Row:
    """Waits a step, and the share of the time in which no kernel ran.

    The profiler slows the processor, so that a GPU is idle for longer than without it.
    """
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    events = [event for event in events if event.get("ph") == "X"]
    words = ("StreamSynchronize", "EventSynchronize")  # the profiler's is the device's
    waits = [e for e in events if e["name"].endswith(words)]
    # On a CPU, AdamW's own of its numbers of steps are among them.
    reads = [e for e in events if e["name"] == "aten::_local_scalar_dense"]
    kinds = ("kernel", "gpu_memcpy", "gpu_memset")
    busy = sorted(
        (e["ts"], e["ts"] + e["dur"]) for e in events if e.get("cat") in kinds
    )
    idle = None
    if busy:
        end, covered = busy[0][0], 0.0
        for start, stop in busy:
            covered += max(0.0, stop - max(start, end))
            end = max(end, stop)
        idle = 1 - covered / (end - busy[0][0])
    return dict(
        waits_a_step=len(waits) / count if busy else None,
        numbers_read_a_step=len(reads) / count,
        idle_share=idle,
        kernels_a_step=sum(e.get("cat") == "kernel" for e in events) / count,
    )


def resident_mib(kind: str) -> float | None:
    """Memory of this process on Linux, now (VmRSS) or at most (VmHWM)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    lines = status.read_text().splitlines()
    (line,) = (line for line in lines if line.startswith(f"{kind}:"))
    return int(line.split()[1]) / 1024
