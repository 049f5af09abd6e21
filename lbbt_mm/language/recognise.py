"""Tell what a file or a folder is that is not a language model, and what helps."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_SAFETENSORS = re.compile(rb".{8}\{", re.DOTALL)
_CONTENTS = (
    (
        re.compile(rb"version https://git-lfs"),
        (),
        "it is a git-lfs pointer, a few lines in the place of the file itself",
        "Run 'git lfs pull' in its folder, or fetch the file from its page.",
    ),
    (
        re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE),
        (),
        "it is a web page",
        "Fetch the file itself (on the hub its address has /resolve/ where its page "
        "has /blob/).",
    ),
    (
        re.compile(rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf"),
        (),
        "it is a compressed file",
        "Unpack it first.",
    ),
    (
        re.compile(rb"GGUF"),
        (".gguf",),
        "it is a gguf file by its content",
        "Give it a name that ends in .gguf.",
    ),
    (
        re.compile(rb"PK\x03\x04"),
        (".bin", ".pth", ".pt"),
        "it is an archive by its content, as torch.save writes them",
        "If it is one of these, give it a name that ends in .pth.",
    ),
    (
        _SAFETENSORS,
        (".safetensors",),
        "it is a safetensors file by its content",
        "Give it a name that ends in .safetensors.",
    ),
)
"""First bytes, the endings of names that go with them, what it is, what helps."""


def what_it_is(path: Path) -> tuple[str, str] | None:
    """Recognise a file that stands where another was expected.

    Args:
        path: A file that could not be read.

    Returns:
        What it is, and what to do; ``None`` if it is nothing known.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError:
        return None
    if not start:
        return "it is empty", "Fetch it again; is the disk full?"
    for pattern, suffixes, found, advice in _CONTENTS:
        if pattern.match(start) and path.suffix not in suffixes:
            return found, advice
    return None


_MERGE = (
    "merge it first and use the folder that this writes: "
    "AutoPeftModelForCausalLM.from_pretrained(ADAPTER)"
    ".merge_and_unload().save_pretrained(DIR), from the peft package"
)


def adapter_message(folder: Path, origin: str) -> str | None:
    """Say what to do with the adapter in a folder; ``None`` if there is none.

    Args:
        folder: The folder.
        origin: What the user gave.
    """
    path, base = folder / "adapter_config.json", None
    if not path.is_file():
        return None
    with contextlib.suppress(OSError, ValueError, AttributeError, RecursionError):
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        base = content.get("base_model_name_or_path")
    of = f" of {base}" if isinstance(base, str) and base else ""
    return (
        f"{origin} is an adapter{of} (peft's LoRA and its kind), not a model: {_MERGE}."
    )


_PARTS_OF_ADAPTERS = re.compile(
    r"(^|\.)(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector|base_layer|"
    r"ia3_l|hada_w1_a|lokr_w1|oft_r|boft_R|vera_lambda_b|prompt_embeddings)(\.|$)"
)
_QUANTISED = re.compile(
    r"\.(qweight|qzeros|SCB|absmax|quant_map|weight_packed|weight_scale|"
    r"weight_scale_inv|weight_format|W_q|B_scales)$|_(blocks|scales)$|"
    r"\.weight\.(absmax|quant_map|nested_absmax|quant_state\..*)$"
)
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
_META = re.compile(r"(^|\.)layers\.\d+\.attention\.w[qkvo]\.weight$")


def refusal(
    origin: str, names: Iterable[str], hf: Mapping[str, Any] | None = None
) -> str | None:
    """Recognise weights that are not a plain model's.

    Args:
        origin: What the user gave.
        names: Names of the tensors.
        hf: The ``config.json`` beside them, if there is one.

    Returns:
        What they are and what to do; ``None`` if nothing speaks against them.
    """
    names = list(names)
    part = next(filter(_PARTS_OF_ADAPTERS.search, names), None)
    if part is not None:
        return (
            f"{origin} holds {part[:200]}, which belongs to an adapter (peft's LoRA "
            f"and its kind) and not to a model: {_MERGE}."
        )
    method = _quantisation(names, hf or {})
    if method is not None:
        return (
            f"{origin} is quantised ({method}), which is not read; use the model that "
            f"it was made from (usually the same name without the method's), or a "
            f"gguf file of it."
        )
    if any(map(_META.search, names)):
        return (
            f"{origin} is in the format of Meta's and Mistral's own code (its names "
            f"are like layers.0.attention.wq), which is read as consolidated.*.pth or "
            f"consolidated.safetensors with the params.json that came with it; copy "
            f"that beside the weights, or use the model's transformers folder."
        )
    return None


def _quantisation(names: list[str], hf: Mapping[str, Any]) -> str | None:
    """Name the method, from the configuration or by the tensors that it leaves."""
    said = hf.get("quantization_config") or hf.get("compression_config")
    if said:
        said = said if isinstance(said, Mapping) else {}
        method = said.get("quant_method") or (
            "bitsandbytes" if "load_in_4bit" in said or "load_in_8bit" in said else ""
        )
        bits = said.get("bits") or said.get("w_bit") or said.get("weight_bits")
        for flag, value in (("load_in_4bit", 4), ("load_in_8bit", 8)):
            bits = value if said.get(flag) is True else bits
        method = str(method or "by its quantization_config")[:60]
        return f"{method}, {bits} bits" if type(bits) is int else method
    left = next((name for name in names if _QUANTISED.search(name)), None)
    return f"it holds {left[:80]}" if left else None


def split_parts(path: Path) -> list[Path]:
    """Find the parts of a gguf file that llama.cpp split, of which one is given.

    Args:
        path: The file.

    Returns:
        All parts in their order; the file alone if it is whole.
    """
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match[3])
    return [
        path.with_name(f"{match[1]}-{number:05}-of-{match[3]}.gguf")
        for number in range(1, count + 1)
    ] or [path]


def split_message(path: Path) -> str | None:
    """Say how to put the parts of a split gguf file together; ``None`` if it is whole.

    Args:
        path: One of the parts.
    """
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return None
    first, whole = split_parts(path)[0].name, f"{match[1]}.gguf"
    return (
        f"{path} is one of {int(match[3])} parts of a gguf file, which transformers "
        f"does not read: put them together with llama.cpp's 'llama-gguf-split --merge "
        f"{first} {whole}' and use {whole}."
    )


_OTHER_FORMATS = (
    ("tf_model.h5", "TensorFlow", "from_tf=True"),
    ("flax_model.msgpack", "Flax", "from_flax=True"),
    ("model.onnx", "ONNX", None),
)


def other_format(folder: Path) -> str | None:
    """Say what to do with a folder whose weights are of another library's format."""
    for name, library, option in _OTHER_FORMATS:
        if (folder / name).is_file():
            return (
                f"{folder} holds {name}, the weights of {library}, which is not read; "
                + (
                    f"write them again with transformers: AutoModel.from_pretrained("
                    f"FOLDER, {option}).save_pretrained(DIR)."
                    if option
                    else "use the model's safetensors files."
                )
            )
    first = next(iter(sorted(folder.glob("*.ckpt*.index"))), None)
    if first is not None:
        return (
            f"{folder} holds {first.name}, a checkpoint of TensorFlow 1 (OpenAI's "
            f"GPT-2, Google's BERT), which is not read; use the same model from the "
            f"hub, or convert it where TensorFlow is installed: transformers-cli "
            f"convert --model_type gpt2 --tf_checkpoint FOLDER --config config.json "
            f"--pytorch_dump_output DIR."
        )
    return None
