"""``init_cfg=dict(type='Pretrained', ...)``: exactly, and without running its code."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import nn

from lbbt_mm.language import CheckpointError
from lbbt_mm.language.errors import MissingCheckpoint
from lbbt_mm.language.record import RECORD_KEY
from lbbt_mm.language.storage import load_state_dict, weights_in
from lbbt_mm.registry import find_type

InitCfg = Mapping[str, Any] | list[Mapping[str, Any]] | None


def split_pretrained(init_cfg: InitCfg) -> tuple[list[Mapping[str, Any]], InitCfg]:
    """Part an ``init_cfg`` into what loads a checkpoint and what draws numbers.

    Args:
        init_cfg: As mmengine takes it.

    Returns:
        The dicts of type ``Pretrained``, and an ``init_cfg`` of the others.
    """
    listed = [init_cfg] if isinstance(init_cfg, Mapping) else list(init_cfg or ())
    # Under whatever name; a subclass may load in its own way.
    loads = [find_type(cfg, WEIGHT_INITIALIZERS) is PretrainedInit for cfg in listed]
    pretrained = [cfg for cfg, loading in zip(listed, loads, strict=True) if loading]
    others = [cfg for cfg, loading in zip(listed, loads, strict=True) if not loading]
    return pretrained, others or None


def read_weights(checkpoint: str) -> dict[str, Any]:
    """Read the state dict of a file, or of an address as mmengine loads it.

    Args:
        checkpoint: A path; or ``https://...`` and whatever else mmengine knows, which
            is fetched once.

    Returns:
        Name -> tensor, without the names of wrappers around the model.

    Raises:
        CheckpointError: It is missing or unreadable, or no state dict.
    """
    path = Path(checkpoint).expanduser()
    if "://" in str(checkpoint):  # guarded: see lbbt_mm/safety/checkpoint_guard.py
        content = CheckpointLoader.load_checkpoint(checkpoint, map_location="cpu")
        state = weights_in(content, checkpoint)
    elif not path.is_file():
        raise MissingCheckpoint(
            f"init_cfg: expected the checkpoint {checkpoint}, found no such file (from "
            f"{os.getcwd()}); train what writes it first (a bridge writes "
            f"work_dirs/NAME_OF_ITS_CONFIG/epoch_N.pth), or name another file: "
            f"--cfg-options model.backbone.init_cfg.checkpoint=FILE."
        )
    else:
        state = load_state_dict(path)
    return {
        name.removeprefix("module.").replace("_orig_mod.", ""): value
        for name, value in state.items()
    }


def load_part(
    module: nn.Module,
    checkpoint: str,
    prefix: str | None = None,
    state: Mapping[str, Any] | None = None,
) -> None:
    """Load a module from the checkpoint of a model that contains it.

    mmengine's own loader takes what fits, leaves the rest as it was drawn, and runs
    whatever code is in the file; this one does neither.

    Args:
        module: Gets the weights, in place.
        checkpoint: A file on this machine, or an address.
        prefix: What stands before the module's names, such as ``'backbone.'``. Without
            one the checkpoint is of the module alone, or of a model that contains it
            once.
        state: The checkpoint's weights, where :func:`read_weights` has read them.

    Raises:
        CheckpointError: The file is missing or unreadable, or holds other tensors than
            the module.
    """
    state = read_weights(checkpoint) if state is None else state
    own = [name for name in module.state_dict() if not name.endswith(RECORD_KEY)]
    roots, nearest = _prefixes(own, state)
    if prefix:
        root = f"{prefix.rstrip('.')}."
    elif "" in roots or not roots:
        root = "" if roots else nearest
    elif len(roots) == 1:
        (root,) = roots
        print_log(
            f"{type(module).__name__}: found in {checkpoint} with prefix={root!r}.",
            logger="current",
        )
    else:
        raise CheckpointError(
            f"{checkpoint} holds a {type(module).__name__} as "
            f"{', '.join(f'{root}*' for root in roots)}; say which one by prefix."
        )
    wanted = {
        name[len(root) :]: value
        for name, value in state.items()
        if name.startswith(root)
    }
    meant = f" One is there with prefix={roots[0]!r}." if roots else ""
    if not wanted:
        found = ", ".join(list(state)[:3]) or "none"
        raise CheckpointError(
            f"Expected weights named {root}* in {checkpoint}, got {found}, ... Is it a "
            f"checkpoint of this config?{meant}"
        )
    try:
        module.load_state_dict(wanted)
    except RuntimeError as error:
        raise CheckpointError(
            f"The {type(module).__name__} in {checkpoint} is not the one in the "
            f"config: {_shortened(str(error))}{meant}"
        ) from error


def require_same_blocks(model: nn.Module, state: Collection[str]) -> None:
    """Refuse a checkpoint whose language blocks are more or fewer than the model's.

    mmengine loads what fits and leaves the other blocks as they were drawn.

    Args:
        model: About to be loaded.
        state: Names of the checkpoint's tensors.

    Raises:
        CheckpointError: A backbone is in both, with different depths.
    """
    stored = _depths(state)
    for root, depth in _depths(model.state_dict()).items():
        if stored.get(root, depth) != depth:
            raise CheckpointError(
                f"The checkpoint holds {stored[root]} blocks of {root or 'the model'}, "
                f"the config builds {depth}: set num_layers={stored[root]}, or name a "
                f"checkpoint of this config."
            )


def load_start(model: nn.Module) -> None:
    """Load what the ``init_cfg`` of a model whose parts draw their own numbers names.

    Args:
        model: With an ``init_cfg``; changed in place.

    Raises:
        ValueError: The ``init_cfg`` would draw numbers.
        CheckpointError: As :func:`load_part`.
    """
    starts, drawn = split_pretrained(getattr(model, "init_cfg", None))
    if drawn:
        raise ValueError(
            f"{type(model).__name__}: expected init_cfg of type Pretrained, got "
            f"{drawn!r}; give others to the parts of the model."
        )
    for cfg in starts:
        load_part(model, cfg["checkpoint"], cfg.get("prefix"))


def _prefixes(own: Sequence[str], state: Collection[str]) -> tuple[list[str], str]:
    """Find what stands before a module's names in a state dict.

    Returns:
        Every prefix with which it has all of the names; and the one with most.
    """
    ends = own[:: max(1, len(own) // 8)]
    places = {
        name.removesuffix(end)
        for end in ends
        for name in state
        if name == end or name.endswith(f".{end}")
    }
    held = {root: sum(f"{root}{name}" in state for name in own) for root in places}
    whole = sorted(root for root, count in held.items() if count == len(own))
    return whole, max(held, key=lambda root: (held[root], root), default="")


def _depths(names: Collection[str]) -> dict[str, int]:
    """Count the language blocks in each backbone; DDP's and TTA's prefix is none."""
    found = (
        re.match(r"(?:module\.)*(.*?)\.?language\.blocks\.(\d+)\.", n) for n in names
    )
    blocks = {match.groups() for match in found if match}
    return Counter(root for root, _ in blocks)


def _shortened(error: str) -> str:
    """Keep three of each list of names in torch's message."""
    lines = [line.strip() for line in error.splitlines()]
    for number, line in enumerate(lines):
        names = re.findall(r'"[^"]+"', line)
        if len(names) > 3:
            start = line[: line.index(names[0])]
            first = ", ".join(names[:3])
            lines[number] = f"{start}{first} and {len(names) - 3} more."
    shapes = [line for line in lines if line.startswith("size mismatch")]
    kept = [line for line in lines if line not in shapes[3:]]
    more = f" ({len(shapes) - 3} more of these)" if len(shapes) > 3 else ""
    return " ".join(kept) + more
