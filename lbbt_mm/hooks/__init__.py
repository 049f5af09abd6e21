"""When things happen in a run."""

from lbbt_mm.hooks.throughput import ThroughputHook

__all__ = ["ThroughputHook"]
