"""The token that a language model puts in front of every text."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from lbbt_mm.language.checkpoint import Checkpoint
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.gguf_store import GGUFStore
from lbbt_mm.language.locate import locate
from lbbt_mm.language.sources import read_json

_GGUF = ("tokenizer.ggml.bos_token_id", "tokenizer.ggml.cls_token_id")


def first_token(checkpoint: Checkpoint) -> Tensor:
    """Read the embedding of a language model's first token, ``(C,)``.

    That is the one which its files call ``bos_token``, or ``cls_token`` in BERT. A
    model's attention gathers on what stands first, whatever it is.

    Args:
        checkpoint: An opened language model, with its word embeddings.

    Raises:
        CheckpointError: The family has no such token, its files do not name it, or
            there are no word embeddings.
    """
    number = _number(checkpoint)
    if number is None:
        raise CheckpointError(
            f"{checkpoint.source} has no first token: its files name neither a "
            f"bos_token nor a cls_token. Take prefix_tokens='new'."
        )
    return checkpoint.embedding_rows(number, number + 1)[0]


def _number(checkpoint: Checkpoint) -> int | None:
    if checkpoint.record or checkpoint.config.family == "t5":
        return None  # a stack of ours keeps no words; T5's encoder reads text as it is
    files = locate(checkpoint.source)
    if files.weights[0].suffix == ".gguf":
        metadata = GGUFStore(files.weights[0]).metadata
        return next((int(metadata[key]) for key in _GGUF if key in metadata), None)
    if files.config is None:
        return None
    stated = read_json(files.config).get("bos_token_id")
    if checkpoint.config.family != "bert" and isinstance(stated, int):
        return stated
    return _of_tokenizer(files.config.parent)


def _of_tokenizer(folder: Path) -> int | None:
    """Find the number of a tokeniser's ``bos_token``, or else ``cls_token``."""
    named = [
        read_json(folder / name)
        for name in ("tokenizer_config.json", "special_tokens_map.json")
        if (folder / name).is_file()
    ]
    numbers: dict[Any, Any] = {}
    if (folder / "vocab.txt").is_file():
        named.append({"cls_token": "[CLS]"})  # BERT's, whatever else is missing
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
        numbers = {line: number for number, line in enumerate(lines)}
    if (folder / "tokenizer.json").is_file():
        added = read_json(folder / "tokenizer.json").get("added_tokens") or ()
        numbers |= {token.get("content"): token.get("id") for token in added}
    for kind in ("bos_token", "cls_token"):
        for names in named:
            token = names.get(kind)
            text = token.get("content") if isinstance(token, Mapping) else token
            if isinstance(numbers.get(text), int):
                return numbers[text]
    return None
