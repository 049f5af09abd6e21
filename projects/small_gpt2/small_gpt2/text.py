"""From files to clean English documents, for projects/small_gpt2/pretrain.py."""

from __future__ import annotations

import gzip
import hashlib
import html
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_MARKUP = {".html", ".htm", ".xhtml", ".xml", ".page"}
_PLAIN = {"", ".txt", ".text", ".md", ".rst"}
_MAN = re.compile(r"\.[1-9][a-z]*$")
_NEVER = ("changelog", "copyright")  # every Debian package has them
_COMPRESSED = {".gz", ".dz"}  # .dz: of dictionary servers; gzip reads it

# About a third of the words of English prose; hardly a word of other languages.
_COMMON = frozenset(
    "the of and to in is that for it as with be by on are this or an from which not "
    "can you if will has was but at have a its used when".split()
)
_WORD = re.compile(r"[A-Za-z']+")
_PIECE = 32_000  # characters: longer files are cut into documents of this size

_NOT_PROSE = re.compile(
    r"<!--.*?-->|<(script|style|pre|head|nav|screen|code-block)\b.*?</\1\s*>",
    re.DOTALL | re.IGNORECASE,
)
_INLINE = re.compile(
    r"</?(?:a|abbr|acronym|app|b|bdi|big|cite|cmd|code|dfn|em|file|font|gui|guiseq|i|"
    r"input|kbd|key|keyseq|link|mark|q|samp|small|span|strong|sub|sup|sys|tt|u|var)"
    r"\b[^>]*>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<[^>]*>")

_ROFF_BLOCK = re.compile(r"^\.(?:nf|EX|TS)\b.*?^\.(?:fi|[ET]E)\b", re.M | re.S)
_ROFF_FONT = re.compile(r"^\.(?:[BI]|[BIR]{2}|SM|SB)[ \t]+", re.M)
_ROFF_MACRO = re.compile(r"^[.'].*$", re.M)
_ROFF_ESCAPES = (
    (re.compile(r"\\f(?:\[[^]]*\]|\(..|.)|\\s[-+]?\d|\\[&|^/,:%c]"), ""),
    (re.compile(r"\\\((?:aq|cq|oq)|\\\[(?:aq|cq|oq)\]"), "'"),
    (re.compile(r"\\\((?:dq|lq|rq)|\\\[(?:dq|lq|rq)\]|\\\*\(C?[\"'`L-R]"), '"'),
    (re.compile(r"\\\((?:em|en)|\\\[(?:em|en)\]|\\-"), "-"),
    (re.compile(r"\\\(..|\\\[[^]]*\]|\\\*\(..|\\\*."), ""),
    (re.compile(r"\\e"), r"\\"),
    (re.compile(r"\\ "), " "),
)
# Dictionary servers' files: sources in brackets, references in braces.
_DICT_TAG = re.compile(r"\[(?:[^][]*(?:Webster|PJC|WordNet|Bouvier|Century)[^][]*)\]")


class TextError(Exception):
    """The text cannot be used; the message is one sentence for the user."""


@dataclass(frozen=True)
class Corpus:
    """Clean documents, apart.

    Attributes:
        train: To learn from.
        held_out: Other documents, to measure on.
        statistics: How many files, documents, paragraphs and bytes came and stayed.
    """

    train: list[str]
    held_out: list[str]
    statistics: dict[str, int]


def read_corpus(
    paths: Iterable[Path], held_out: float, show: Callable[[str], None] = lambda _: None
) -> Corpus:
    """Read English prose from files and folders.

    A folder is read as far as the endings of its files promise text: plain text,
    Markdown, reStructuredText, HTML, Mallard, manual pages, dictionaries of dictd, each
    also compressed with gzip; a file that is named itself is read whatever its ending.
    Markup, code and tables go, a paragraph becomes one line, and a paragraph that came
    before, in whatever markup, is dropped. A document is a file, or 32 000 characters
    of a longer one; those without the common words of English go. Whether a document is
    held out depends on its content alone, and no paragraph is on both sides.

    Args:
        paths: Files and folders.
        held_out: Share of the documents to hold out.
        show: Told how far it is.

    Raises:
        TextError: A path does not exist or cannot be read.
    """
    count: Counter[str] = Counter()
    seen: set[bytes] = set()
    sides: dict[bool, list[str]] = {False: [], True: []}
    for path, named in _files(paths):
        try:
            raw = _read(path)
        except (OSError, EOFError, zlib.error) as error:
            if named:
                raise TextError(f"cannot read {path}: {error}.") from error
            count["files_unreadable"] += 1
            continue
        count["files"] += 1
        count["bytes_read"] += len(raw)
        for document in _documents(_decode(raw), path, seen, count):
            data = document.encode()
            draw = int.from_bytes(hashlib.sha256(data).digest()[:8], "big") / 2**64
            side = draw < held_out
            sides[side].append(document)
            count["held_out_bytes" if side else "train_bytes"] += len(data)
        kept = count["train_bytes"] + count["held_out_bytes"]
        show(f"{count['files']} files, {kept / 1e6:.1f} MB of prose")
    count["train_documents"] = len(sides[False])
    count["held_out_documents"] = len(sides[True])
    return Corpus(sides[False], sides[True], dict(sorted(count.items())))


def _files(paths: Iterable[Path]) -> Iterator[tuple[Path, bool]]:
    """List the files, sorted, and whether each was named itself."""
    for path in paths:
        if path.is_file():
            yield path, True
        elif path.is_dir():
            for folder, folders, names in os.walk(path):
                # Sphinx keeps every page a second time, with its markup.
                folders[:] = sorted(f for f in folders if f != "_sources")
                for name in sorted(names):
                    file = Path(folder, name)
                    if name.startswith(_NEVER) or file.is_symlink():
                        continue
                    if _kind(file) and file.is_file():
                        yield file, False
        else:
            raise TextError(f"the text {path} does not exist.")


def _kind(path: Path) -> str | None:
    """Say by its ending what a file holds, or None for what is not to be read."""
    name = path.name
    if path.suffix.lower() in _COMPRESSED:
        name = path.stem
    suffix = Path(name).suffix.lower()
    if suffix == ".dict":
        return "dictionary"
    if suffix in _MARKUP:
        return "markup"
    if _MAN.search(name):
        return "man"
    return "plain" if suffix in _PLAIN else None


def _read(path: Path) -> bytes:
    if path.suffix.lower() in _COMPRESSED:
        with gzip.open(path) as file:
            return file.read()
    return path.read_bytes()


def _decode(raw: bytes) -> str:
    """Decode UTF-8, else Latin-1; nothing of a binary file."""
    if b"\0" in raw[:8192]:
        return ""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _documents(
    text: str, path: Path, seen: set[bytes], count: Counter[str]
) -> Iterator[str]:
    """Clean one file and cut it into documents."""
    kept: list[str] = []
    size = 0
    for paragraph in _paragraphs(text, _kind(path) or "plain"):
        if not is_prose(paragraph):
            count["paragraphs_not_prose"] += 1
            continue
        # Letters only, so that the HTML and the text of one manual are the same.
        letters = "".join(_WORD.findall(paragraph)).lower()
        key = hashlib.blake2b(letters.encode(), digest_size=8).digest()
        if key in seen:
            count["paragraphs_repeated"] += 1
            continue
        seen.add(key)
        kept.append(paragraph)
        size += len(paragraph)
        if size >= _PIECE:
            yield from _english(kept, count)
            kept, size = [], 0
    yield from _english(kept, count)


def _english(paragraphs: list[str], count: Counter[str]) -> Iterator[str]:
    text = "\n".join(paragraphs)
    if _common_share(text) >= 0.2:
        count["paragraphs"] += len(paragraphs)
        yield text
    elif paragraphs:
        count["documents_not_english"] += 1


def is_prose(paragraph: str) -> bool:
    """Whether a paragraph consists of words rather than of code, numbers or names.

    Args:
        paragraph: One line.
    """
    words = _WORD.findall(paragraph)
    letters = sum(map(len, words)) + paragraph.count(" ")
    if len(words) < 6 or letters < 0.85 * len(paragraph):
        return False
    if paragraph.startswith(">>>"):  # Python's prompt
        return False
    return len(words) < 12 or _common_share(paragraph) >= 0.12


def _common_share(text: str) -> float:
    words = _WORD.findall(text.lower())
    return sum(word in _COMMON for word in words) / max(1, len(words))


def _paragraphs(text: str, kind: str) -> Iterator[str]:
    """Take the markup away; every paragraph becomes one line."""
    text = text.replace("\r\n", "\n")
    if kind == "markup":
        text = _NOT_PROSE.sub("\n\n", text)
        # An inline tag may stand inside a word; every other one ends a paragraph.
        text = html.unescape(_TAG.sub("\n\n", _INLINE.sub("", text)))
    elif kind == "man":
        text = _ROFF_FONT.sub("", _ROFF_BLOCK.sub("\n\n", text))
        text = _ROFF_MACRO.sub("\n", text)
        for pattern, instead in _ROFF_ESCAPES:
            text = pattern.sub(instead, text)
    elif kind == "dictionary":
        text = _DICT_TAG.sub("", text).replace("{", "").replace("}", "")
    for paragraph in re.split(r"\n[ \t]*\n|\n%\n", text):
        line = " ".join(paragraph.split())
        if line:
            yield line
