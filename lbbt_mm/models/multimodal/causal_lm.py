"""Open a Hugging Face causal language model and its tokeniser by the one string."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from safetensors import SafetensorError
from torch import nn

from lbbt_mm.language.errors import FOREIGN, CheckpointError
from lbbt_mm.language.locate import locate
from lbbt_mm.version import require

_DTYPES = ("float32", "bfloat16", "float16")
# Without protobuf, transformers hides the others behind an ImportError.
_UNREADABLE = (*FOREIGN, SafetensorError)


def open_causal_lm(
    language_model: str,
    pretrained: bool = True,
    dtype: str = "float32",
    attention: str = "sdpa",
) -> nn.Module:
    """Build a causal language model with its head, all blocks of it.

    Args:
        language_model: Hub id, folder, file or ``'package:NAME/FILE'``, as everywhere.
        pretrained: Read the weights; otherwise the architecture alone, drawn anew.
        dtype: ``'float32'``, ``'bfloat16'`` or ``'float16'``.
        attention: transformers' ``attn_implementation``.

    Returns:
        A ``transformers.PreTrainedModel``.

    Raises:
        CheckpointError: It cannot be found or read.
        ValueError: There is no such ``dtype``.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"dtype: expected one of {_DTYPES}, got {dtype!r}.")
    transformers = require("transformers", "A language model that answers")

    # torch_dtype is the name that transformers 4.45 and 4.57 both understand.
    kept = dict(torch_dtype=getattr(torch, dtype), attn_implementation=attention)

    def build(where: str, **kwargs: Any) -> nn.Module:
        if pretrained:
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                where, output_loading_info=True, **kwargs, **kept
            )
            missing = sorted(info["missing_keys"])
            if "gguf_file" in kwargs and missing == ["lm_head.weight"]:
                # The format's way to say that words and head are one table, which
                # transformers 4.45 does not know yet.
                model.config.tie_word_embeddings = True
                model.tie_weights()
                missing = []
            # transformers would draw them, and only warn.
            if missing:
                raise ValueError(
                    f"{len(missing)} weights are missing, such as {missing[0]}."
                )
            return model
        config = transformers.AutoConfig.from_pretrained(where, **kwargs)
        return transformers.AutoModelForCausalLM.from_config(config, **kept)

    return _open(language_model, build, "causal language model")


def causal_lm_config(language_model: str) -> Any:
    """Read a language model's config, without its weights.

    Args:
        language_model: As in :func:`open_causal_lm`.

    Returns:
        A ``transformers.PretrainedConfig``.

    Raises:
        CheckpointError: It cannot be found or read.
    """
    transformers = require("transformers", "A language model that answers")
    return _open(language_model, transformers.AutoConfig.from_pretrained, "config")


def open_tokenizer(language_model: str) -> Any:
    """Open a language model's own tokeniser.

    Args:
        language_model: As in :func:`open_causal_lm`; a ``.gguf`` carries its tokeniser.

    Returns:
        A ``transformers.PreTrainedTokenizerFast``.

    Raises:
        CheckpointError: It cannot be found or read, or it is not a fast one, whose
            offsets tell answers from questions.
    """
    transformers = require("transformers", "A tokeniser")
    found = _open(
        language_model, transformers.AutoTokenizer.from_pretrained, "tokeniser"
    )
    if not found.is_fast:
        raise CheckpointError(
            f"{language_model}: expected a fast tokeniser, got {type(found).__name__}; "
            "save it once with tokenizer.json (AutoTokenizer converts most)."
        )
    return found


def _open(language_model: str, build: Callable[..., Any], what: str) -> Any:
    where, kwargs = _place(language_model)
    problem: Exception
    try:
        # The cache first: the network is for what is not there.
        return build(where, local_files_only=True, **kwargs)
    except _UNREADABLE as error:
        problem = error
    if not Path(where).exists():
        print_log(f"{language_model}: fetching the {what} from the hub", "current")
        try:
            return build(where, **kwargs)
        except _UNREADABLE as error:
            problem = error
    first = str(problem).strip().splitlines() or [type(problem).__name__]
    raise CheckpointError(
        f"{language_model}: expected a {what} that transformers can read, got "
        f"{type(problem).__name__}: {first[0]} Give a folder written by "
        "save_pretrained() with model and tokeniser, a .gguf file, or a hub id that is "
        "in the cache or can be reached."
    ) from problem


def _place(language_model: str) -> tuple[str, Mapping[str, Any]]:
    """What ``from_pretrained`` is asked for; a folder, or a hub id as it is."""
    path = Path(str(language_model)).expanduser()
    local = path.exists() or path.suffix in (".gguf", ".safetensors")
    if not str(language_model).startswith(("package:", ".", "/", "~")) and not local:
        return language_model, {}
    if path.is_dir():
        return str(path), {}
    file = locate(language_model).weights[0]  # says what is missing
    if file.suffix == ".gguf":
        return str(file.parent), dict(gguf_file=file.name)
    return str(file.parent), {}
