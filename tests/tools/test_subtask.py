"""How a tool shows the progress of another one."""

from __future__ import annotations

import itertools
import os
import time
from types import SimpleNamespace

import pytest


@pytest.fixture
def subtask(monkeypatch: pytest.MonkeyPatch):
    from test_shell_scripts import TOOLS

    monkeypatch.syspath_prepend(str(TOOLS))
    import _subtask

    return _subtask


def test_a_line_is_no_wider_than_the_terminal(subtask, monkeypatch, capsys) -> None:
    size = os.terminal_size((30, 20))
    monkeypatch.setattr(subtask.shutil, "get_terminal_size", lambda: size)
    progress = subtask.Progress("bridge")
    progress.tty = True
    progress.show("epoch 1, step 16/64, 10.5 % of the labels")
    assert capsys.readouterr().out == "\r\033[K  bridge: epoch 1, step 16/64"


def test_waiting_is_said_once(subtask, monkeypatch, tmp_path, capsys) -> None:
    from lbbt_mm import folder_lock

    answers = itertools.chain([False] * 4, itertools.repeat(True))
    monkeypatch.setattr(folder_lock, "is_free", lambda folder: next(answers))
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda seconds: None)
    monkeypatch.setattr(subtask, "time", clock)
    subtask.wait_until_free(tmp_path, subtask.Progress("bridge"))
    assert capsys.readouterr().out.count("waiting for the training") == 1
    assert next(answers)  # it waited until then
