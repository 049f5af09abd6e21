"""When things happen in a run."""

from lbbt_mm.hooks.atomic_checkpoint import AtomicCheckpointHook, CheckpointWriteError
from lbbt_mm.hooks.bridge_monitor import BridgeMonitorHook
from lbbt_mm.hooks.check_data import CheckDataHook
from lbbt_mm.hooks.compile_blocks import CompileHook
from lbbt_mm.hooks.config_names import ConfigNamesHook
from lbbt_mm.hooks.cost import CostHook
from lbbt_mm.hooks.deferred_log import DeferredLogHook
from lbbt_mm.hooks.folder_lock import FolderLockHook
from lbbt_mm.hooks.freeze_blocks import FreezeBlocksHook
from lbbt_mm.hooks.language_init import LanguageInitHook
from lbbt_mm.hooks.random_state import RandomStateHook
from lbbt_mm.hooks.tensor_float import TensorFloatHook
from lbbt_mm.hooks.termination import RunEnded, TerminationHook
from lbbt_mm.hooks.throughput import ThroughputHook

__all__ = [
    "AtomicCheckpointHook",
    "BridgeMonitorHook",
    "CheckDataHook",
    "CheckpointWriteError",
    "CompileHook",
    "ConfigNamesHook",
    "CostHook",
    "DeferredLogHook",
    "FolderLockHook",
    "FreezeBlocksHook",
    "LanguageInitHook",
    "RandomStateHook",
    "RunEnded",
    "TensorFloatHook",
    "TerminationHook",
    "ThroughputHook",
]
