"""The words that several language models have in common, under one set of names.

What LangBridge (arXiv 2503.19404) builds a visual token from: entries that every
language model has in its own embedding table, each in a row of its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from lbbt_mm.files import write_whole
from lbbt_mm.language.errors import CheckpointError

DEFAULT_SIZE = 19200  # entries; the paper's shared vocabulary
_FORMAT = "lbbt_mm.SharedVocabulary"
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
_SHOWN = 8  # entries in a message or a report


class VocabularyError(CheckpointError):
    """A vocabulary that does not fit; the message says what to do."""


def token_texts(tokenizer: Any) -> dict[str, int]:
    """Read what each token of a tokenizer stands for, in the middle of a text.

    Tokenizers write the start of a word in their own ways: ``Ġbag`` in byte-level BPE,
    ``▁bag`` in sentencepiece, ``bag`` beside ``##bag`` in WordPiece. The tokenizer's
    own decoder is therefore asked, with an ordinary word in front of the token, and
    what it adds to that word is the text. A leading space in it is kept: ``' bag'``
    begins a word and ``'bag'`` goes on with one, and they are different rows.

    Left out are special tokens, the single bytes of byte fallback, pieces of a
    character, and what shows nothing: spaces, line breaks, control characters.

    Args:
        tokenizer: A tokenizer of transformers.

    Returns:
        Text -> row in the embedding table, by ascending row. Where several tokens
        have one text, the lowest row: the tokenizer learned that one first.

    Raises:
        VocabularyError: No ordinary word is in the tokenizer.
    """
    special = set(tokenizer.all_special_ids)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special |= {row for row, token in added.items() if token.special}
    vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    ordinary = [
        (token, row)
        for token, row in vocabulary
        if row not in special and not _BYTE.fullmatch(token)
    ]
    text_of = tokenizer.convert_tokens_to_string
    for anchor, _ in ordinary:
        before = text_of([anchor])
        if before.strip().isalpha() and before.isascii():
            break
    else:
        raise VocabularyError(
            f"{_name(tokenizer)} has no token that is an ordinary word; give the "
            "tokenizer of a language model for text."
        )
    found: dict[str, int] = {}
    for token, row in ordinary:
        both = text_of([anchor, token])
        text = both[len(before) :]
        if both.startswith(before) and text.strip() and text.isprintable():
            if "\N{REPLACEMENT CHARACTER}" not in text:
                found.setdefault(text, row)
    return found


@dataclasses.dataclass(frozen=True)
class SharedVocabulary:
    """An ordered list of token texts; two are equal if their texts are.

    Attributes:
        texts: The entries; see :func:`token_texts`.
        sources: Names of the tokenizers that it was chosen from.
        overlap: What was found when it was chosen; see :meth:`report`.
    """

    texts: tuple[str, ...]
    sources: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    overlap: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Refuse what could not be told apart."""
        if not self.texts or len(set(self.texts)) < len(self.texts):
            raise VocabularyError(
                f"A shared vocabulary expects different texts, got {len(self.texts)} "
                f"of which {len(set(self.texts))} are different; choose it anew."
            )

    @classmethod
    def from_tokenizers(
        cls,
        tokenizers: Sequence[Any],
        size: int = DEFAULT_SIZE,
        minimum_overlap: float = 0.5,
    ) -> SharedVocabulary:
        """Choose the entries that all tokenizers have.

        The rule: of the texts in every tokenizer, first the whole words (a space, then
        letters alone), then all others, each by their row in the first tokenizer; the
        first ``size`` of them. In BPE a lower row is an earlier, so a more frequent
        merge, and BERT's WordPiece is ordered alike. Words come first because a piece
        of a word names nothing that an image could show.

        Args:
            tokenizers: Of transformers. The first one decides the order.
            size: Entries wanted.
            minimum_overlap: Fewer than this share of ``size`` is an error.

        Returns:
            At most ``size`` entries.

        Raises:
            VocabularyError: The tokenizers have too little in common.
            ValueError: No tokenizer, or an option outside its range.
        """
        if not tokenizers or size < 1 or not 0 < minimum_overlap <= 1:
            raise ValueError(
                "A shared vocabulary expects one or more tokenizers, a size from 1 and "
                f"a minimum_overlap in (0, 1]; got {len(tokenizers)} tokenizers, "
                f"{size} and {minimum_overlap}."
            )
        names = tuple(_name(tokenizer) for tokenizer in tokenizers)
        tables = [token_texts(tokenizer) for tokenizer in tokenizers]
        common = [t for t in tables[0] if all(t in other for other in tables[1:])]
        common.sort(key=_is_no_word)  # stable: by row within both kinds
        _check_overlap(len(common), size, minimum_overlap, names)
        chosen = common[:size]
        shared = set(common)
        unmatched = [[t for t in table if t not in shared] for table in tables]
        each = zip(tokenizers, tables, unmatched, strict=True)
        return cls(tuple(chosen), names, _overlap(size, chosen, len(common), each))

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self.texts)

    def __str__(self) -> str:
        """Name it in one line."""
        origin = " and ".join(self.sources) or "unnamed tokenizers"
        return f"{len(self)} entries of {origin} (sha256 {self.digest[:12]})"

    @property
    def digest(self) -> str:
        """sha256 of the texts in their order."""
        return hashlib.sha256(json.dumps(self.texts).encode()).hexdigest()

    def ids(self, tokenizer: Any) -> list[int]:
        """Find the entries' rows in a language model's embedding table.

        Args:
            tokenizer: That language model's.

        Returns:
            One row an entry.

        Raises:
            VocabularyError: Some entries are not in the tokenizer.
        """
        return self.rows(token_texts(tokenizer), _name(tokenizer))

    def rows(self, table: Mapping[str, int], name: str = "the tokenizer") -> list[int]:
        """Find the entries' rows, as :meth:`ids`, in what :func:`token_texts` gave."""
        missing = [text for text in self.texts if text not in table]
        if missing:
            shown = ", ".join(map(repr, missing[:_SHOWN]))
            raise VocabularyError(
                f"{len(missing)} of the {len(self)} entries of the shared vocabulary "
                f"are not in {name} ({shown}{' ...' if missing[_SHOWN:] else ''}); "
                "transfer the projector with tools/transfer_projector.py, which keeps "
                "the others, or train with a vocabulary chosen from both tokenizers."
            )
        return [table[text] for text in self.texts]

    def shared_with(
        self, tokenizer: Any, minimum_overlap: float = 0.5
    ) -> tuple[SharedVocabulary, list[int]]:
        """Keep the entries that another tokenizer has too, in their order.

        Args:
            tokenizer: The other one, of transformers.
            minimum_overlap: Fewer than this share of the entries is an error.

        Returns:
            The smaller vocabulary, and the positions of its entries in this one.

        Raises:
            VocabularyError: Too few are left.
        """
        table = token_texts(tokenizer)
        kept = [i for i, text in enumerate(self.texts) if text in table]
        names = tuple(dict.fromkeys((*self.sources, _name(tokenizer))))
        _check_overlap(len(kept), len(self), minimum_overlap, names)
        texts = tuple(self.texts[i] for i in kept)
        unmatched = [text for text in self.texts if text not in table]
        each = [(tokenizer, table, unmatched)]
        overlap = _overlap(len(self), texts, len(kept), each)
        return SharedVocabulary(texts, names, overlap), kept

    def report(self) -> str:
        """Say in a few lines what the tokenizers have in common."""
        if not self.overlap:
            return str(self)
        found = self.overlap
        lines = [
            str(self),
            f"wanted {found['wanted']}, in common {found['common']}, chosen "
            f"{found['chosen']}, of which {found['whole_words']} are whole words",
        ]
        for one in found["tokenizers"]:
            examples = ", ".join(map(repr, one["unmatched"])) or "none"
            lines.append(
                f"{one['name']}: {one['tokens']} tokens, {one['texts']} different "
                f"texts, {one['share_in_common']:.1%} of them in common; unmatched, "
                f"for example: {examples}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Write it in plain types."""
        return {
            "format": _FORMAT,
            "sha256": self.digest,
            "size": len(self),
            "sources": list(self.sources),
            "overlap": dict(self.overlap),
            "texts": list(self.texts),
        }

    @classmethod
    def from_dict(cls, fields: Any, where: str) -> SharedVocabulary:
        """Read what :meth:`to_dict` wrote.

        Args:
            fields: The plain types.
            where: Their origin, for the message.

        Raises:
            VocabularyError: They are something else, or damaged.
        """
        if not isinstance(fields, dict) or fields.get("format") != _FORMAT:
            raise VocabularyError(
                f"{where} is no shared vocabulary; give a file that "
                "SharedVocabulary.save wrote."
            )
        texts, sources = fields.get("texts"), fields.get("sources")
        overlap = fields.get("overlap")
        if _are_strings(texts) and _are_strings(sources) and isinstance(overlap, dict):
            found = cls(tuple(texts), tuple(sources), overlap)
            if found.digest == fields.get("sha256"):
                return found
        raise VocabularyError(
            f"{where} is a damaged shared vocabulary: its entries and its sha256 do "
            "not agree; fetch it again or choose it anew."
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file, whole or not at all."""
        text = json.dumps(self.to_dict(), ensure_ascii=False, indent=1)
        write_whole(path, text + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SharedVocabulary:
        """Read a file that :meth:`save` wrote.

        Raises:
            VocabularyError: It is missing, cut off, damaged or something else.
        """
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise VocabularyError(
                f"The shared vocabulary {path} cannot be read ({error.strerror}); "
                "write it with SharedVocabulary.save, or leave vocabulary out."
            ) from None
        except ValueError as error:
            raise VocabularyError(
                f"{path} is no shared vocabulary or is cut off ({error}); fetch it "
                "again or choose it anew."
            ) from None
        return cls.from_dict(fields, str(path))


def _is_no_word(text: str) -> bool:
    return not (text.startswith(" ") and text[1:].isalpha())


def _are_strings(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(v, str) for v in values)


def _name(tokenizer: Any) -> str:
    """Name a tokenizer without the folders of the machine that it lies on."""
    path = str(getattr(tokenizer, "name_or_path", ""))
    if os.path.isabs(path) or os.path.isdir(path):
        path = Path(path).name
    return path or type(tokenizer).__name__


def _overlap(
    wanted: int,
    chosen: Sequence[str],
    common: int,
    each: Iterable[tuple[Any, Mapping[str, int], Sequence[str]]],
) -> dict[str, Any]:
    return {
        "wanted": wanted,
        "chosen": len(chosen),
        "whole_words": sum(not _is_no_word(text) for text in chosen),
        "common": common,
        "tokenizers": [
            {
                "name": _name(tokenizer),
                "tokens": len(tokenizer),
                "texts": len(table),
                "share_in_common": common / len(table),
                "unmatched": list(unmatched[:_SHOWN]),
            }
            for tokenizer, table, unmatched in each
        ],
    }


def _check_overlap(
    found: int, size: int, minimum_overlap: float, names: Sequence[str]
) -> None:
    if found < minimum_overlap * size:
        raise VocabularyError(
            f"{' and '.join(names)} have {found} texts in common, {found / size:.1%} "
            f"of the {size} wanted and less than the minimum_overlap of "
            f"{minimum_overlap:.1%}; ask for fewer entries, lower minimum_overlap, or "
            "use language models whose tokenizers are closer."
        )
