"""One helper writes every file: whole or not at all, whoever else writes it."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from forked import ForkedScript

from lbbt_mm import files
from lbbt_mm.files import is_alive, write_whole

ROOT = Path(__file__).resolve().parents[1]


def test_text_bytes_and_writers(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_whole(path, "\u00e4")
    assert path.read_bytes() == "\u00e4".encode()
    write_whole(str(path), b"2")
    assert path.read_bytes() == b"2"
    seen = []
    write_whole(path, lambda part: (seen.append(part), part.write_text("3")))
    assert path.read_text() == "3" and [p.name for p in path.parent.iterdir()] == [
        "a.json"
    ]
    assert seen[0].suffix == ".json" and seen[0].name.startswith(".a.json.")


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    """With one name for the part, the second would publish what the first began."""
    path = tmp_path / "a.txt"

    def first(part):
        part.write_text("first")
        write_whole(path, lambda other: other.write_text("second"))
        assert path.read_text() == "second"

    write_whole(path, first)
    assert path.read_text() == "first"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_the_earlier_file_stays(tmp_path, monkeypatch, number):
    path = tmp_path / "a.txt"
    path.write_text("earlier")

    def full(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=os.strerror(number)) as caught:
        write_whole(path, "later")
    assert caught.value.filename == str(path)
    assert path.read_text() == "earlier" and len(list(tmp_path.iterdir())) == 1


def test_it_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    path, done = tmp_path / "a.txt", []
    fsync = os.fsync
    monkeypatch.setattr(
        files.os, "fsync", lambda d: (done.append(path.exists()), fsync(d))
    )
    write_whole(path, "1")
    assert done == [False]


def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "link.txt"
    path.write_text("1")
    path.chmod(0o640)
    link.symlink_to(path)
    write_whole(link, "2")
    assert link.is_symlink() and path.read_text() == "2"
    assert path.stat().st_mode & 0o777 == 0o640


def test_parts_of_dead_processes_are_removed(tmp_path):
    code = (
        "import os, signal; from lbbt_mm.files import write_whole; "
        "write_whole('a.txt', lambda p: (p.write_text('half'), "
        "os.kill(os.getpid(), signal.SIGKILL)))"
    )
    killed = ForkedScript(["-c", code], tmp_path)
    assert killed.wait() == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.read_text() == "half"
    other = tmp_path / ".a.txt.123456-1-00.part"  # of another machine
    mine = tmp_path / f".a.txt.{files._HOST}-{os.getpid()}-00.part"  # at work
    for path in (other, mine):
        path.touch()
    write_whole(tmp_path / "a.txt", "whole")
    assert {p.name for p in tmp_path.iterdir()} == {"a.txt", other.name, mine.name}


def test_which_processes_live():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_alive(os.getpid()) and is_alive(1) and not is_alive(ended.pid)


def test_nobody_writes_files_in_another_way():
    """Folders that appear at once are renamed by hand; all files by the helper."""
    found = {
        path.name
        for room in ("lbbt_mm", "tools")
        for path in (ROOT / room).rglob("*.py")
        if re.search(r"os\.(replace|rename)\(", path.read_text(encoding="utf-8"))
    }
    assert found == {"files.py"}
