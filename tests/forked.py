"""Processes that need not import torch and the OpenMMLab libraries again.

A server, started at the first use, has imported them; each process is forked from it.
It has arguments, an environment, signals and an exit status of its own.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import connection, forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from torch.multiprocessing import start_processes

TESTS = Path(__file__).resolve().parent
_CONTEXT = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Start it, unless it runs."""
    _CONTEXT.set_forkserver_preload(["preloaded"])
    paths = [str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")]
    env = dict(
        PYTHONPATH=os.pathsep.join(filter(None, paths)),
        OMP_NUM_THREADS="1",
        CUDA_VISIBLE_DEVICES="-1",  # what is forked cannot use a GPU
    )
    with mock.patch.dict(os.environ, env):
        forkserver.ensure_running()


class ForkedScript:
    """``python SCRIPT ...`` in a forked process, with the methods of a ``Popen``.

    Args:
        command: The script, or ``-c`` and code, and the arguments.
        cwd: Working folder.
        env: Its whole environment; by default this process's.
    """

    def __init__(
        self, command: list[Any], cwd: Path, env: Mapping[str, str] | None = None
    ) -> None:
        start_server()
        read, write = _CONTEXT.Pipe(duplex=False)
        self._process: BaseProcess = _CONTEXT.Process(
            target=_run_script,
            args=([*map(str, command)], str(cwd), dict(env or os.environ), write),
            daemon=False,
        )
        self._process.start()
        write.close()
        self.stdout = io.TextIOWrapper(os.fdopen(os.dup(read.fileno()), "rb"))
        read.close()
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """Exit status; minus the signal's number if one ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit status if there is one."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0)
        return self._process.exitcode

    def communicate(self) -> tuple[str, None]:
        """Wait for the end; returns all that it said."""
        said = self.stdout.read()
        self.wait()
        self.stdout.close()
        return said, None

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class ForkedPython(ForkedScript):
    """In place of ``subprocess.Popen``, for what starts scripts of this interpreter."""

    def __init__(self, command: list[str], *, env: Mapping[str, str], **_: Any) -> None:
        assert command[0] == sys.executable
        super().__init__(command[1:], Path.cwd(), env)


def _run_script(
    command: list[str], cwd: str, env: dict[str, str], write: connection.Connection
) -> None:
    for stream in (1, 2):
        os.dup2(write.fileno(), stream)
    write.close()
    sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", 0), write_through=True)
    sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", 0), write_through=True)
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    paths = env.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = filter(None, paths)
    if command[0] == "-c":
        sys.argv = ["-c", *command[2:]]
        exec(command[1], {"__name__": "__main__"})
        return
    sys.path.insert(0, str(Path(command[0]).parent))
    sys.argv = command
    runpy.run_path(command[0], run_name="__main__")


def run_two(command: list[Any], cwd: Path, env: Mapping[str, str]) -> str:
    """Run a script in two processes that find one another, as torchrun starts it.

    Args:
        command: The script and its arguments.
        cwd: Working folder.
        env: Environment of both.

    Returns:
        What both said, one after the other.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = dict(
        env, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2",
        LOCAL_WORLD_SIZE="2",
    )  # fmt: skip
    both = [
        ForkedScript(command, cwd, dict(meet, RANK=rank, LOCAL_RANK=rank))
        for rank in "01"
    ]

    def finish(one: ForkedScript) -> str:
        said, _ = one.communicate()
        if one.returncode != 0:  # the other would wait for it
            for other in both:
                other.kill()
        return said

    with ThreadPoolExecutor(2) as pool:
        said = "".join(pool.map(finish, both))
    assert [one.returncode for one in both] == [0, 0], said[-8000:]
    return said


def spawn_two(function: Callable[..., None], *args: Any) -> None:
    """Call ``function(rank, *args)`` in two processes, as ``torch.multiprocessing``."""
    start_server()
    start_processes(function, args, nprocs=2, start_method="forkserver")
