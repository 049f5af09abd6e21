"""Long loops say how far they are: a bar on a terminal, few lines in a log file."""

from __future__ import annotations

import io
import itertools

import pytest

from lbbt_mm import progress
from lbbt_mm.progress import follow


def terminal(monkeypatch) -> io.StringIO:
    said = io.StringIO()
    said.isatty = lambda: True
    monkeypatch.setattr(progress.sys, "stderr", said)
    return said


def test_a_bar_on_a_terminal_goes_when_the_loop_ends(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    assert list(follow(range(7), "loop")) == list(range(7))
    assert list(follow(iter("ab"), "stream", total=2)) == ["a", "b"]
    said = screen.getvalue()
    assert "loop:   0%" in said and "/7 [" in said and "/2 [" in said
    assert said.endswith("\r")  # wiped, so that the next line begins where it was


def test_a_loop_that_is_left_early_closes_its_bar(monkeypatch) -> None:
    screen = terminal(monkeypatch)
    with pytest.raises(ValueError, match="stop"):
        for number in follow(range(7), "loop"):
            if number == 2:
                raise ValueError("stop")
    assert screen.getvalue().endswith("\r")


@pytest.mark.parametrize(
    ("seconds", "tenths"), [(3, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]), (0, [100])]
)
def test_lines_in_a_log_file(monkeypatch, capsys, seconds, tenths) -> None:
    clock = itertools.count(0, seconds)  # of each of 40 items
    monkeypatch.setattr(progress.time, "perf_counter", lambda: next(clock))
    found = list(follow(range(40), "train features", unit="batches"))
    assert found == [*range(40)]
    lines = capsys.readouterr().err.splitlines()
    assert [int(line.split()[2]) for line in lines] == tenths
    last = f"train features: 100 % (40/40 batches, {40 * seconds} s)"
    assert lines[-1] == last


def test_nothing_is_said_unasked_or_where_the_end_is_unknown(capsys) -> None:
    assert list(follow(range(3), "loop", progress=False)) == [0, 1, 2]
    assert list(follow(iter("abc"), "stream")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
