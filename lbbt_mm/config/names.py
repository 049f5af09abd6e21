"""Which names of a config somebody reads, and what to say of one that nobody does."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config

#: What mmengine's runners, the libraries' tools and those of this package read. Any
#: other name of a config is a variable: it counts through what is made from it.
READ = frozenset(
    """
    model data_preprocessor train_dataloader val_dataloader test_dataloader train_cfg
    val_cfg test_cfg val_evaluator test_evaluator optim_wrapper param_scheduler
    auto_scale_lr default_hooks custom_hooks load_from resume launcher env_cfg
    log_processor log_level visualizer default_scope randomness experiment_name work_dir
    strategy runner_type compile find_unused_parameters model_wrapper_cfg sync_bn
    activation_checkpointing efficient_conv_bn_eval custom_imports tta_model
    tta_pipeline blind_train kfold_split_seed fp16
    """.split()
)

#: Variables of 0.1.0's configs -> what they are called now; the old names work for one
#: release.
RENAMED = {"eye_lr_mult": "encoder_lr_mult", "moved": "transferred"}


class ConfigError(ValueError):
    """A setting has no effect or does not fit; the message says what to do."""


def effective(cfg: Config) -> dict[str, Any]:
    """Take the part of a config that somebody reads."""
    return {key: value for key, value in cfg.to_dict().items() if key in READ}


def flat(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """List the leaves of a config, or of a part of one, by their dotted keys."""
    if isinstance(node, Mapping) and node:
        pairs: Iterable = node.items()
    elif isinstance(node, (list, tuple)) and any(isinstance(v, dict) for v in node):
        pairs = enumerate(node)
    else:
        yield prefix, node
        return
    for key, value in pairs:
        yield from flat(value, f"{prefix}.{key}" if prefix else str(key))


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """List the dotted keys whose values differ between two configs."""
    missing = object()
    one, other = dict(flat(before)), dict(flat(after))
    return [
        key
        for key in sorted(one.keys() | other.keys())
        if one.get(key, missing) != other.get(key, missing)
    ]


def nearest(name: str, names: Iterable[str], cutoff: float = 0.75) -> str | None:
    """Find the name that was probably meant, at least so much alike (at most 1)."""
    plain = {each.casefold(): each for each in sorted(names)}
    found = difflib.get_close_matches(name.casefold(), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def no_effect(name: str, cfg: Config, where: str) -> str:
    """Say that a name, set somewhere, changes nothing, and which key does."""
    said = f"{where} sets {name}, but nothing in the config is made from it"
    keys = _related(name, cfg)
    if keys:
        return f"{said}: set {' or '.join(keys)} instead."
    names = sorted(each for each in cfg if each not in READ and each != name)
    own = f"; the config's own names are {', '.join(names)}" if names else ""
    return f"{said}: set the key that is meant, such as train_cfg.max_epochs{own}."


def _related(name: str, cfg: Config) -> list[str]:
    """List up to three keys that are called alike, those of the same value first.

    Of a name that the config does not have, a single word in common says nothing.
    """
    words, value = set(name.split("_")), cfg.get(name)
    found = []
    for key, content in flat(effective(cfg)):
        last = key.rpartition(".")[2]
        alike = len(words & set(last.split("_"))) + 2 * (last == name)
        if alike and (name in cfg or words <= set(re.split(r"[._]", key))):
            found.append((content != value, -alike, key.count("."), key))
    return [key for *_, key in sorted(found)[:3]]


def check_nested(options: Mapping[str, Any], cfg: Config) -> None:
    """Refuse a dotted key that is nearly, but not quite, one that is there.

    Args:
        options: Values by dotted key.
        cfg: The config that they go into.

    Raises:
        ConfigError: ``train_dataloader.batchsize`` beside ``batch_size``.
    """
    for option in options:
        node: Any = cfg
        *way, last = option.split(".")
        for depth, step in enumerate([*way, last]):
            if isinstance(node, (list, tuple)) and step.isdigit():
                node = node[int(step)] if int(step) < len(node) else None
                continue
            if not isinstance(node, (dict, Config)):
                break
            if step in node:
                node = node[step]
                continue
            meant = nearest(step, map(str, node), 0.9)
            digits = re.sub(r"\D", "", step), re.sub(r"\D", "", meant or "")
            if meant and depth and digits[0] == digits[1]:
                full = ".".join([*option.split(".")[:depth], meant])
                raise ConfigError(
                    f"{option} is not in the config: did you mean {full}?"
                )
            break
