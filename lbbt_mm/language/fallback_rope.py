"""Rotary positions as transformers 5 writes them, for a transformers that is older.

It gathers them in ``rope_parameters``, which releases below 5 pass over in silence: the
model would run with the default base and without its extension.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from lbbt_mm.language.errors import CheckpointError

_BASES = ("rope_theta", "rotary_emb_base")
_PARTS = ("partial_rotary_factor", "rotary_pct")
_BY_KIND = (
    ("full_attention", ("rope_theta", "global_rope_theta")),
    ("sliding_attention", ("rope_local_base_freq", "local_rope_theta")),
)
"""Kinds of layers -> the older names of their bases: Gemma 3's, ModernBERT's."""


def older_spelling(hf: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``rope_parameters`` under the names that the installed transformers reads.

    Args:
        hf: Content of a ``config.json``; that of a text model in it is changed too.

    Raises:
        CheckpointError: There are no such names. The message begins with a verb, for
            the name of the file to be put in front.

    Example:
        >>> older_spelling(dict(model_type="olmo2", rope_parameters=dict(
        ...     rope_type="default", rope_theta=500000.0)))
        {'model_type': 'olmo2', 'rope_theta': 500000.0}
    """
    found = {
        key: older_spelling(value) if isinstance(value, Mapping) else value
        for key, value in hf.items()
    }
    rope = hf.get("rope_parameters")
    if not rope:
        found.pop("rope_parameters", None)
        return found
    names = _names(hf.get("model_type"))
    if "rope_parameters" in names:
        return found | {"rope_parameters": rope}
    del found["rope_parameters"]
    kinds = [kind for kind in rope.values() if isinstance(kind, Mapping)]
    if kinds and len(kinds) == len(rope) and all(kind == kinds[0] for kind in kinds):
        rope, kinds = kinds[0], []
    if not kinds:
        return found | _translated(hf, rope, names, _BASES)
    if rope.keys() <= {kind for kind, _ in _BY_KIND}:
        for kind, bases in _BY_KIND:
            if kind in rope:
                own = names if kind == "full_attention" else names & {*bases}
                found |= _translated(hf, rope[kind], own, bases)
        return found
    raise _refusal(hf, ", ".join(rope))


def _translated(
    hf: Mapping[str, Any],
    rope: Mapping[str, Any],
    names: set[str],
    bases: tuple[str, ...],
) -> dict[str, Any]:
    found, rest = {}, dict(rope)
    for key, older in (("rope_theta", bases), ("partial_rotary_factor", _PARTS)):
        value = rest.pop(key, None)
        name = next((name for name in older if name in names), None)
        if value is not None and name is not None:
            found[name] = value
        elif value is not None and not (key != "rope_theta" and value == 1):
            raise _refusal(hf, f"{key}={value!r}")
    kind = rest.get("rope_type", "default")
    if rest.keys() <= {"rope_type"} and kind == "default":
        return found
    if "rope_scaling" not in names:
        raise _refusal(hf, f"rope_type={kind!r}")
    if kind == "longrope" and "original_max_position_embeddings" in rest:
        key = "original_max_position_embeddings"
        found[key] = hf.get(key, rest[key])
    return found | {"rope_scaling": rest}


def _refusal(hf: Mapping[str, Any], what: str) -> CheckpointError:
    import transformers

    return CheckpointError(
        f"is of model_type {hf.get('model_type')!r:.60} and says its rotary positions "
        f"in rope_parameters, as transformers 5 writes them, of which the installed "
        f"{transformers.__version__} has no {what[:80]}; use a config.json that an "
        f"earlier release wrote."
    )


def _names(model_type: Any) -> set[str]:
    """Name what the configuration of a model type takes; nothing if it is unknown."""
    from transformers import CONFIG_MAPPING

    if model_type not in CONFIG_MAPPING:
        return set()
    return set(inspect.signature(CONFIG_MAPPING[model_type].__init__).parameters)
