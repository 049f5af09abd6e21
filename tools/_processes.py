"""Several processes of one tool: what their launcher says, on CPU too."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from typing import Any

from _launch import fail

_NAMES = {  # of torch.distributed -> of a launcher
    "slurm": dict(
        RANK="SLURM_PROCID", WORLD_SIZE="SLURM_NTASKS", SLURM_NODELIST="SLURM_NODELIST"
    ),
    "mpi": dict(
        RANK="OMPI_COMM_WORLD_RANK",
        WORLD_SIZE="OMPI_COMM_WORLD_SIZE",
        LOCAL_RANK="OMPI_COMM_WORLD_LOCAL_RANK",
    ),
}
_STARTED_BY = {
    "slurm": "a job of Slurm (tools/slurm_train.sh)",
    "mpi": "mpirun of Open MPI",
}


def add_launcher_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher`` and ``--local_rank``."""
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm", "mpi"],
        default="none",
        help="job launcher",
    )
    # torch.distributed.launch passes it; torchrun sets LOCAL_RANK instead.
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0)


def is_first_process(launcher: str) -> bool:
    """Whether this is the process that writes, before mmengine knows."""
    name = _NAMES.get(launcher, {}).get("RANK", "RANK")
    return launcher == "none" or os.environ.get(name, "0") == "0"


def prepare_launch(cfg: Any, launcher: str, local_rank: int = 0) -> None:
    """Set the launcher, and make it work without GPUs too.

    mmengine's launchers call ``torch.cuda`` and hand GPU numbers to the distributed
    wrapper. It leaves an existing process group alone, so on CPU one is made here.
    """
    from mmengine.device import get_device

    cfg.launcher = launcher
    os.environ.setdefault("LOCAL_RANK", str(local_rank))
    if launcher == "none":
        return
    if get_device() != "cpu":
        _export_rank(launcher)  # mmengine would end in a KeyError
        return
    import torch.distributed as dist

    if not dist.is_initialized():
        _export_rank(launcher)
        dist.init_process_group("gloo")
    wrapper = cfg.get("model_wrapper_cfg") or dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        # mmengine reads this key only when it has no model_wrapper_cfg.
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    cfg.model_wrapper_cfg = dict(wrapper, device_ids=None)


def end_process(code: int = 0) -> None:
    """End a process that has done its work, if it is one of several on CPU.

    At once: taking the interpreter down with gloo's threads in it now and then aborts
    ("terminate called without an active exception"), and the launcher calls that a
    failure of the run.
    """
    import torch.distributed as dist

    if dist.is_initialized() and dist.get_backend() == "gloo":
        dist.barrier()  # nobody is waited for any more
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _export_rank(launcher: str) -> None:
    """Put what a launcher calls by other names where torch.distributed looks."""
    env, names = os.environ, _NAMES.get(launcher, {})
    if any(name not in env for name in names.values()):
        fail(
            f"--launcher {launcher} expects {', '.join(names.values())} in the "
            f"environment, which {_STARTED_BY[launcher]} sets. On one machine use "
            "tools/dist_train.sh CONFIG PROCESSES, or no --launcher for one process."
        )
    if names:
        env.setdefault("MASTER_PORT", "29500")
        env.update({ours: env[theirs] for ours, theirs in names.items()})
    if launcher == "slurm":
        first = f"scontrol show hostname {env['SLURM_NODELIST']} | head -n1"
        env.setdefault("MASTER_ADDR", subprocess.getoutput(first))
        env["LOCAL_RANK"] = env.get("SLURM_LOCALID", "0")
    needed = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in needed if name not in env]
    if missing:
        fail(
            f"--launcher {launcher} expects {', '.join(missing)} in the environment. "
            "Start it through tools/dist_train.sh or the launcher itself."
        )
