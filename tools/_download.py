"""Files from addresses and out of archives: whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import IO, Any

from _launch import fail

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


def download(
    url: str, path: Path, md5: str | None = None, size: int | None = None
) -> None:
    """Fetch a file; one that was interrupted goes on where it stopped.

    Args:
        url: Its address.
        path: Where it goes; what is there already is only checked.
        md5: Of its content, if known.
        size: In bytes, if known; else what the server says.
    """
    part = path.with_name(f"{path.name}.part")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, part, size)
        _check(part, md5, f"{url} gave a file")
        part.replace(path)
    else:
        _check(path, md5, f"{path} is a file")


def need_space(folder: Path, size: int) -> None:
    """Refuse to begin what the disk has no room for.

    Args:
        folder: Need not exist yet.
        size: In bytes.
    """
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < size:
        fail(
            f"{folder} needs about {size / 1e9:.1f} GB, and its disk has "
            f"{free / 1e9:.1f} GB left: free some, or choose another with --root."
        )


def _fetch(url: str, part: Path, size: int | None) -> None:
    begun = part.stat().st_size if part.exists() else 0
    asked = urllib.request.Request(url, headers={"User-Agent": "lbbt_mm"})
    if begun:
        asked.add_header("Range", f"bytes={begun}-")
    try:
        with urllib.request.urlopen(asked, timeout=_TIMEOUT) as answer:
            goes_on = getattr(answer, "status", None) == 206
            length = int(answer.headers.get("Content-Length") or 0)
            size = length + begun * goes_on or size
            with part.open("ab" if goes_on else "wb") as file:
                _copy(answer, file, part.stem, size)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # else all of it is there already
            fail(f"{url} cannot be fetched ({error}): {_ELSEWHERE}")
    except OSError as error:
        fail(f"{url} cannot be fetched ({error}): {_ELSEWHERE}")
    if size and part.stat().st_size < size:
        fail(f"{url} ended early; the same command goes on from there.")


_ELSEWHERE = (
    "the same command goes on from what is there, or download it elsewhere and give "
    "the file with --from."
)


def _copy(answer: Any, file: IO[bytes], name: str, size: int | None) -> None:
    shown, tty = 0.0, sys.stderr.isatty()
    while chunk := answer.read(_CHUNK):
        file.write(chunk)
        now = time.monotonic()
        if now - shown > (1 if tty else 30):
            shown, there = now, file.tell() / 1e6
            of = f" of {size / 1e6:.0f}" if size else ""
            start, end = ("\r\033[K", "") if tty else ("", "\n")
            line = f"{start}  {name}: {there:.0f}{of} MB{end}"
            print(line, end="", file=sys.stderr, flush=True)
    if tty:
        print(file=sys.stderr)


def _check(path: Path, md5: str | None, what: str) -> None:
    if md5 is None:
        return
    found = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    if found.hexdigest() != md5:
        fail(
            f"{what} whose md5 is {found.hexdigest()}, expected {md5}: it is damaged "
            f"or another version; delete {path} and try again."
        )


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip, tar or Debian package, or link what a folder holds.

    Args:
        archive: Exists.
        folder: Where its content goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if archive.is_dir():
        shutil.copytree(archive, folder / archive.name, copy_function=_link)
        return
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as file:
                file.extractall(folder)  # drops '..' and roots by itself
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as file:
                _extract(file, folder)
        elif inside := _in_debian_package(archive):
            with tarfile.open(fileobj=io.BytesIO(inside)) as file:
                _extract(file, folder)
        else:  # one file, such as train-images-idx3-ubyte.gz
            _link(archive, folder / archive.name)
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        fail(f"{archive} cannot be unpacked ({error}): fetch it again.")


def _extract(file: tarfile.TarFile, folder: Path) -> None:
    if hasattr(tarfile, "data_filter"):
        file.extractall(folder, filter="data")
        return
    whole = folder.resolve()
    members = [  # before Python 3.10.12: files and folders that stay inside
        one
        for one in file.getmembers()
        if (one.isfile() or one.isdir())
        and (whole / one.name).resolve().is_relative_to(whole)
    ]
    file.extractall(folder, members)


def _in_debian_package(path: Path) -> bytes | None:
    """Give the data.tar.* of a .deb, an archive of `ar`; None if it is none."""
    with path.open("rb") as file:
        if file.read(8) != b"!<arch>\n":
            return None
        while len(header := file.read(60)) == 60:
            name, size = header[:16].decode().strip(), int(header[48:58])
            if name.startswith("data.tar"):
                return file.read(size)
            file.seek(size + size % 2, 1)
    return None


def _link(source: str | Path, target: str | Path) -> None:
    """A hard link where that works: a copy would double tens of gigabytes."""
    with contextlib.suppress(OSError):
        Path(target).hardlink_to(source)
        return
    shutil.copyfile(source, target)
