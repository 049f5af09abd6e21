"""Files of nanoGPT, and of Meta's and Mistral's own code.

They hold GPT-2 and LLaMA under other names, beside a configuration of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.language.storage import SafetensorsStore, TensorStore, TorchStore
from lbbt_mm.language.storage import load_state_dict as load

_NANOGPT = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")


def nanogpt_arguments(content: Any) -> Mapping[str, Any] | None:
    """Return the arguments of a model that nanoGPT saved, or ``None``.

    Args:
        content: What a file holds.
    """
    arguments = content.get("model_args") if isinstance(content, Mapping) else None
    known = isinstance(arguments, Mapping) and arguments.keys() >= {*_NANOGPT}
    return arguments if known else None


def open_nanogpt(
    arguments: Mapping[str, Any], tensors: Mapping[str, Any], origin: str
) -> tuple[LanguageConfig, TensorStore]:
    """Read a ``ckpt.pt`` of nanoGPT: GPT-2 with the exact GELU.

    Where it was trained without biases, they are zero, which is the same function.

    Args:
        arguments: What :func:`nanogpt_arguments` returned.
        tensors: Name -> tensor.
        origin: What the user gave, for messages.

    Raises:
        CheckpointError: The arguments do not describe a model.
    """
    hf = dict(
        model_type="gpt2",
        n_positions=arguments["block_size"],
        activation_function="gelu",
        **{key: arguments[key] for key in _NANOGPT if key != "block_size"},
        **{f"{part}_pdrop": arguments.get("dropout", 0.0) for part in _DROPS},
    )
    config = config_from_hf(hf, origin, "use the file that nanoGPT wrote")
    tensors = dict(tensors)
    if not arguments.get("bias", True):
        for name, weight in list(tensors.items()):
            inside = name.endswith(_BIASED) and torch.is_tensor(weight)
            if inside and weight.ndim:
                name = f"{name.removesuffix('weight')}bias"
                tensors.setdefault(name, torch.zeros(weight.shape[0]))
    return config, TorchStore(tensors)


_DROPS = ("embd", "attn", "resid")
_BIASED = tuple(
    f"{part}.weight" for part in ("c_attn", "c_proj", "c_fc", "ln_1", "ln_2", "ln_f")
)

_META_KEYS = {
    *("dim", "n_layers", "n_heads", "n_kv_heads", "head_dim", "hidden_dim"),
    *("vocab_size", "norm_eps", "rope_theta", "sliding_window", "max_seq_len"),
    *("multiple_of", "ffn_dim_multiplier", "max_batch_size", "max_position_embeddings"),
    *("use_scaled_rope", "rope_scaling_factor", "rope_high_freq_factor"),
    *("model_parallel_size", "tied_embeddings"),
}
_BY_COLUMNS = (".attention.wo.weight", ".feed_forward.w2.weight")
_BY_ROWS = tuple(f".attention.w{part}.weight" for part in "qkv")
_BY_ROWS = (*_BY_ROWS, ".feed_forward.w1.weight", ".feed_forward.w3.weight")


class _Parts(TensorStore):
    """Tensors that each file of a model has a part of."""

    def __init__(self, stores: Sequence[TensorStore], width: Any) -> None:
        self._stores, self._width = stores, width

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Return name -> shape of the whole."""
        found = {}
        for name, shape in self._stores[0].shapes().items():
            whole, way = list(shape), self._way(name)
            if way is not None and len(shape) == 2:
                parts = [store.shapes().get(name, (0, 0)) for store in self._stores]
                whole[way] = sum(part[way] for part in parts)
            found[name] = tuple(whole)
        return found

    def read(self, name: str, start: int = 0, stop: int | None = None) -> Tensor:
        """Read all parts of a tensor; those of a norm are the same."""
        way = self._way(name)
        if way is None:
            return self._stores[0].read(name, start, stop)
        parts = [store.read(name) for store in self._stores]
        return torch.cat(parts, dim=way)[start:stop]

    def _way(self, name: str) -> int | None:
        if name.endswith("tok_embeddings.weight"):  # by columns before LLaMA 3
            columns = self._stores[0].shapes()[name][-1:]
            return 0 if columns == (self._width,) else 1
        if name.endswith(_BY_COLUMNS):
            return 1
        return 0 if name.endswith((*_BY_ROWS, "output.weight")) else None


def open_meta(
    files: Sequence[Path], params: Mapping[str, Any], origin: str
) -> tuple[LanguageConfig, TensorStore]:
    """Read Meta's ``consolidated.*.pth`` or Mistral's ``consolidated.safetensors``.

    Args:
        files: All parts of the model, in their order.
        params: Content of the ``params.json`` beside them.
        origin: What the user gave, for messages.

    Raises:
        CheckpointError: The parts or ``params.json`` are of another model.
    """
    other = sorted(k for k in params.keys() - _META_KEYS if params[k] not in (None, 0))
    if other:
        raise CheckpointError(
            f"The params.json of {origin} sets {', '.join(other)[:200]}, which is not "
            f"computed; use the model's transformers folder (with model.safetensors)."
        )
    stores: list[TensorStore] = [
        SafetensorsStore([f]) if f.suffix == ".safetensors" else TorchStore(load(f))
        for f in files
    ]
    names = [set(store.shapes()) for store in stores]
    for file, held in zip(files, names, strict=True):
        if held ^ names[0]:
            raise CheckpointError(
                f"{file} does not hold the same tensors as {files[0].name} "
                f"({min(held ^ names[0])}); copy all parts of one model."
            )
    store = _Parts(stores, params.get("dim"))
    shapes = store.shapes()
    up = shapes.get("layers.0.feed_forward.w1.weight", (None,))[0]
    words = shapes.get("tok_embeddings.weight", (params.get("vocab_size"),))[0]
    windowed = params.get("sliding_window") is not None
    hf: dict[str, Any] = dict(
        model_type="mistral" if windowed else "llama",
        intermediate_size=up,
        vocab_size=words,
        rope_theta=params.get("rope_theta") or 10000.0,
        # Nothing ends there, and only Mistral's says it.
        max_position_embeddings=params.get("max_seq_len") or 8192,
        num_key_value_heads=params.get("n_kv_heads"),
        head_dim=params.get("head_dim"),
        sliding_window=params.get("sliding_window"),
    )
    for ours, theirs in (
        ("hidden_size", "dim"),
        ("num_hidden_layers", "n_layers"),
        ("num_attention_heads", "n_heads"),
        ("rms_norm_eps", "norm_eps"),
    ):
        if theirs not in params:
            raise CheckpointError(
                f"The params.json of {origin} lacks {theirs!r}; copy the one that "
                f"came with the model."
            )
        hf[ours] = params[theirs]
    if params.get("use_scaled_rope"):
        hf["rope_scaling"] = _scaled_rope(params, origin)
    return config_from_hf(hf, origin, "copy the model's own params.json"), store


def _scaled_rope(params: Mapping[str, Any], origin: str) -> dict[str, Any]:
    factor = params.get("rope_scaling_factor")
    if factor is None and type(params["dim"]) is int and params["dim"] >= 4096:
        factor = 8.0  # LLaMA 3.1, and 3.3
    if factor is None:
        raise CheckpointError(
            f"The params.json of {origin} sets use_scaled_rope and does not say how "
            f"far: add rope_scaling_factor, 32 for LLaMA 3.2 by its config.json on the "
            f"hub, 8 in Meta's own code."
        )
    return dict(
        rope_type="llama3",
        factor=factor,
        low_freq_factor=1.0,
        high_freq_factor=params.get("rope_high_freq_factor") or 4.0,
        original_max_position_embeddings=8192,
    )
