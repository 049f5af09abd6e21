"""What a LLaVA answers with that no tensor of its checkpoint shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any

import torch
from torch import Tensor, nn

# Arguments that change training, where weights come from, or a shape, which is
# compared with the tensors.
_OTHERWISE = {
    "vision_encoder": {
        "attn_drop_rate",
        "drop_path_rate",
        "drop_rate",
        "frozen_stages",
        "init_cfg",
        "language_model",
        "norm_eval",
        "pretrained",
        "trainable_layers",
        "with_cp",
    },
    "projector": {
        "depth",
        "in_channels",
        "init_cfg",
        "out_channels",
        "vocabulary",
        "vocabulary_size",
    },
}
_TENSORS, _VALUES = 16, 4  # of a sample of weights
_ROUNDING = 2**-6  # far above that of bfloat16, far below another training's


def settings(model: Any, configs: Mapping[str, Mapping]) -> dict[str, Any]:
    """Collect what the same tensors give other answers with.

    Args:
        model: A LLaVA with its parts.
        configs: Of ``vision_encoder`` and ``projector``.

    Returns:
        What JSON can hold.
    """
    talk, preprocessor = model.conversations, model.data_preprocessor
    found = dict(
        chat_template=talk.template,
        system=talk.system,
        tokenizer=_vocabulary(model.tokenizer, talk.image_id),
        grid_pinpoints=model.grid_pinpoints,
        mean=_numbers(getattr(preprocessor, "mean", None)),
        std=_numbers(getattr(preprocessor, "std", None)),
        lora_scaling=_lora_scaling(model.language_model),
    )
    for part, config in configs.items():
        kind = type(getattr(model, part))
        given = dict(_arguments(kind, config), type=kind.__name__)
        for name, value in given.items():
            if name not in _OTHERWISE[part]:
                found[f"{part}.{name}"] = value
    return json.loads(json.dumps(found, default=str))


def of_images(inputs: Sequence[Tensor], samples: Sequence[Any]) -> dict[str, Any]:
    """Collect what a batch shows of how its images became tiles.

    Args:
        inputs: Tiles of each sample, ``(tiles, 3, height, width)``.
        samples: Data samples.
    """
    stretched = bool(samples[0].get("stretched"))
    return dict(tile_size=inputs[0].shape[-1], stretched=stretched)


def differences(
    built: Mapping[str, Any], stored: Mapping[str, Any], names: Sequence[str]
) -> list[str]:
    """Name the settings that both know and that are not the same.

    Args:
        built: Of the model.
        stored: Of the checkpoint.
        names: Which ones.

    Returns:
        ``'name built != stored'`` each.
    """
    return [
        f"{name} {_short(built[name])} != {_short(stored[name])}"
        for name in names
        if name in built and name in stored and built[name] != stored[name]
    ]


@torch.no_grad()
def sample_weights(tensors: Iterable[Tensor]) -> list[float] | None:
    """Take some numbers from all over a module's weights.

    They are the same in float32 and, but for rounding, in half precision.

    Args:
        tensors: The parameters, in their order.

    Returns:
        The numbers; None where they are not here, or only a rank's shards of them.
    """
    whole = [tensor for tensor in tensors if tensor.numel()]
    if not whole or any(hasattr(t, "placements") for t in whole):
        return None
    taken = []
    for tensor in whole[:: max(1, len(whole) // _TENSORS)]:
        places = torch.linspace(0, tensor.numel() - 1, _VALUES + 2).long()[1:-1]
        taken.append(tensor.reshape(-1)[places.to(tensor.device)].float())
    return torch.cat([values.cpu() for values in taken]).tolist()


def same_weights(some: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether two samples are of the same weights, as far as is known."""
    if some is None or other is None:
        return True
    if len(some) != len(other):
        return False
    far = sum(
        not abs(a - b) <= _ROUNDING * max(abs(a), abs(b)) + 1e-6
        for a, b in zip(some, other, strict=True)
    )
    return far <= len(some) / 8


def _arguments(kind: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a class, its defaults included."""
    known = {
        name: parameter.default
        for name, parameter in signature(kind).parameters.items()
        if parameter.default is not Parameter.empty
    }
    return known | {key: value for key, value in config.items() if key != "type"}


def _vocabulary(tokenizer: Any, image_id: int) -> str:
    entries = sorted(
        (place, word) for word, place in tokenizer.get_vocab().items()
        if place != image_id
    )  # fmt: skip
    digest = hashlib.sha256(json.dumps(entries).encode()).hexdigest()
    return f"{len(entries)} entries ({digest[:12]})"


def _lora_scaling(language_model: nn.Module) -> Any:
    """Alpha over rank, or over its root; one number where all modules have the same."""
    found = dict(_scalings(language_model))
    values = set(found.values())
    return next(iter(values), None) if len(values) < 2 else found


def _scalings(language_model: nn.Module) -> Iterator[tuple[str, float]]:
    for name, module in language_model.named_modules():
        scaling = getattr(module, "scaling", None)
        if hasattr(module, "lora_A") and isinstance(scaling, Mapping):
            for adapter, value in scaling.items():
                yield f"{name}:{adapter}", float(value)


def _numbers(tensor: Any) -> list[float] | None:
    return tensor.flatten().tolist() if torch.is_tensor(tensor) else None


def _short(value: Any) -> str:
    text = repr(value)
    if len(text) <= 60:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()
    return f"{text[:40]}... ({digest[:12]})"
