"""What a bridge did to the language: perplexity on a text, before and after."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lbbt_mm.analysis.perplexity import text_loss
from lbbt_mm.export.hugging_face import blocks_of, bridge_in, source_of
from lbbt_mm.language.checkpoint import Checkpoint, open_checkpoint
from lbbt_mm.language.whole import started_from, whole_model
from lbbt_mm.models.multimodal.causal_lm import open_tokenizer
from lbbt_mm.version import require

if TYPE_CHECKING:
    from lbbt_mm.measure.measured_model import MeasuredModel

_SHIPPED = Path(__file__).with_name("alice.txt")


def read_text(file: str) -> str:
    """Read the text to measure on.

    Args:
        file: UTF-8; empty for the shipped one, the beginning of "Alice's Adventures in
            Wonderland" (Lewis Carroll, 1865; in the public domain).

    Raises:
        ValueError: There is no such text.
    """
    path = Path(file).expanduser() if file else _SHIPPED
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a text in UTF-8 ({error}).") from error
    if not text:
        raise ValueError(f"{path}: expected a text, got an empty file.")
    return text


def checksum(file: str) -> str:
    """Name a text by what it says; see :func:`read_text`."""
    return hashlib.sha256(read_text(file).encode()).hexdigest()[:16]


def perplexity_of(
    measured: MeasuredModel | str, file: str, window: int
) -> dict[str, Any]:
    """Measure a language model with a backbone's blocks in their places.

    Args:
        measured: A model with a ``LanguageBackbone``, or a plain language model.
        file: Of the text; see :func:`read_text`.
        window: Words that are seen at once, fewer where the model has fewer positions.

    Returns:
        ``perplexity`` with the blocks, ``before``, that of the language model as it
        was, ``words`` and ``bits_per_byte`` (both comparable only for one tokeniser,
        the latter for any), ``before_bits_per_byte``, ``blocks`` and ``of``.

    Raises:
        ValueError: The blocks are from scratch, look both ways, or are not of a causal
            language model.
        CheckpointError: The language model or its tokeniser is missing.
    """
    blocks: Mapping[int, Mapping[str, Tensor]] = {}
    if isinstance(measured, str):
        source = open_checkpoint(measured)
    else:
        backbone = measured.backbone  # says what it needs
        state = {n: t.detach().cpu() for n, t in backbone.state_dict().items()}
        bridge = bridge_in(state, measured.checkpoint or "the config's backbone")
        if not started_from(bridge.record)[0].get("source"):
            raise ValueError(
                "Expected blocks that come from a language model; these are from "
                "scratch, and know no word."
            )
        source, blocks = source_of(bridge), blocks_of(bridge)
    config = source.config
    if config.attention != "causal":
        raise ValueError(
            f"Expected a causal language model, got {source.source} ({config.family}), "
            f"which does not predict the next word."
        )
    text = read_text(file)
    transformers = require("transformers", "perplexity")
    transformers.utils.logging.set_verbosity_error()  # of tokenisers, and of dtype
    tokenizer = open_tokenizer(source.source)
    words = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
    window = min(window, config.max_positions)

    def measure(inner: Mapping[int, Mapping[str, Tensor]]) -> tuple[float, float]:
        model = _open(source, inner)
        total, number = text_loss(lambda part: model(part).logits, words, window)
        per_byte = total / math.log(2) / len(text.encode())
        return math.exp(total / number), per_byte

    before = measure({})
    after = measure(blocks) if blocks else before
    return dict(
        perplexity=after[0],
        before=before[0],
        bits_per_byte=after[1],
        before_bits_per_byte=before[1],
        words=len(words),
        blocks=len(blocks),
        of=config.num_layers,
    )


def _open(source: Checkpoint, blocks: Mapping[int, Mapping[str, Tensor]]) -> Any:
    """Build the whole language model in memory."""
    transformers = require("transformers", "perplexity")
    written, readers = whole_model(source, blocks)
    config = transformers.AutoConfig.for_model(**written)
    state = {name: read().float() for name, read in readers.items()}
    kind = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    # torch_dtype is the name that transformers 4.45 and 4.57 both understand.
    model, info = kind.from_pretrained(
        None,
        config=config,
        state_dict=state,
        torch_dtype=torch.float32,
        output_loading_info=True,
    )
    if info["missing_keys"]:
        raise ValueError(
            f"Expected a language model with its head, got {source.source} without "
            f"{', '.join(sorted(info['missing_keys'])[:3])}."
        )
    return model.eval()
