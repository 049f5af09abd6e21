"""One way to read a config: a name means the same in every file it goes through."""

from __future__ import annotations

import copy
import logging
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from lbbt_mm.config.chain import MARK, File, override, read_chain, reading_once
from lbbt_mm.config.names import (
    READ,
    RENAMED,
    ConfigError,
    changed_keys,
    check_nested,
    effective,
    flat,
    nearest,
    no_effect,
)
from lbbt_mm.config.schedule import follow_length

Below = dict[str, dict[str, Any]]
_LENGTHS = {"max_epochs", "max_iters"}
#: Files that were read here: what they say at the top is what is built from them.
LOADED: set[str] = set()


@reading_once()
def load_config(path: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config, with settings over it that have the effect they seem to have.

    A variable of the config or of one of its bases (``lr``, ``random_ratio``) may be
    set in a child file of a config of this package, and in ``options`` for any config:
    all that is made from it follows. What is set by its own key
    (``optim_wrapper.optimizer.lr``) counts more than a variable, ``options`` more than
    a file, and a file more than its bases. When ``options`` change how long training
    lasts, the schedulers follow.

    Args:
        path: A config of this package, mmpretrain, mmdet or mmseg, or one based on it.
        options: Values by dotted key, as ``--cfg-options`` gives them.

    Returns:
        What ``Config.fromfile`` returns, if nothing is set.

    Raises:
        ConfigError: A setting has no effect, is misspelt or does not fit.

    Example:
        >>> cfg = load_config("configs/bridge/minilm_language_random100_6e_mnist5k.py",
        ...                   {"random_ratio": 0.15})
        >>> cfg.train_dataloader.dataset.ratio
        0.15
    """
    options = copy.deepcopy(dict(options or {}))
    try:
        plain, root, below = read_handed_down(path)
    except Exception as error:  # whatever stands in it, or in a base
        said = f"it cannot be read: {_where(path, error)}."
        if isinstance(error, FileNotFoundError) and "_correct" in str(error):
            said += " Configs that 0.1.0 called _correct are called _true now."
        raise ConfigError(said) from error
    ours = is_ours(root) or MARK in plain.text
    if ours:
        _check_files(path, plain, root, below)
    written = copy.deepcopy(
        {key: plain.get(key) for key in ("train_cfg", "param_scheduler")}
    )
    options = {_renamed(key, plain): value for key, value in options.items()}
    given = _by_name(options)
    _check_names(given, options, plain, ours)
    variables = {name: given[name] for name in given if is_variable(name, plain)}
    if ours:
        _check_kinds(variables, plain)
    cfg = plain
    if variables:
        try:
            cfg = read_handed_down(path, variables)[0]
        except Exception as error:  # whatever the files do with the value
            names = ", ".join(variables)
            raise ConfigError(f"{names} does not fit {path}: {error}") from error
        _check_effect(path, variables, plain, cfg, ours)
    old = copy.deepcopy(effective(cfg)) if options else {}
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f"what is set does not fit {path}: {error}") from error
    lengths = [(file.resolved.get("train_cfg") or {}) for file in root.walk()]
    for line in follow_length(cfg, written, lengths):
        print_log(line, logger="current")
    _name_what_is_built(path, cfg, old, variables, options)
    LOADED.add(str(cfg.filename))
    return cfg


def _where(path: str | Path, error: Exception) -> str:
    """Say what a file ended in, and on which of its lines if it came so far."""
    if isinstance(error, SyntaxError) and error.filename in (None, "<unknown>"):
        error.filename = str(path)
    said = f"{type(error).__name__}: {error}".rstrip(".")
    frames = traceback.extract_tb(error.__traceback__)
    at = [frame for frame in frames if frame.name == "<module>"]
    return f"{at[-1].filename}, line {at[-1].lineno}: {said}" if at else said


def read_handed_down(
    path: str | Path, everywhere: Mapping[str, Any] | None = None
) -> tuple[Config, File, Below]:
    """Read a config in which what a file assigns holds in the files it is based on.

    A file that uses its value itself, for one of the keys that are made from it below,
    is left as it is: mmengine's own way of writing configs.

    Args:
        path: The config.
        everywhere: Name -> value that counts more than any file.

    Returns:
        The config, its files as they read by themselves, and what was handed down: path
        of a file -> name -> value. Other packages' files stay as they are.
    """
    plain, root = read_chain(path, everywhere)
    if not (is_ours(root) or MARK in plain.text):
        return plain, root, {}
    without = READ | set(everywhere or ())
    for wanted in (_any, _does_not_arrive):
        names, outer = {}, set(without)
        for file in root.walk():
            here = (file.own.keys() & file.assigned & file.below()) - outer
            here = {name for name in here if not file.external and wanted(file, name)}
            names[file.path] = here
            outer |= here
        cfg, below = _hand_down(path, everywhere, plain, root, names)
        if effective(cfg) == effective(plain):
            return plain, root, {}
    return cfg, root, below


def _hand_down(
    path: str | Path,
    everywhere: Mapping[str, Any] | None,
    cfg: Config,
    root: File,
    names: Mapping[str, set[str]],
) -> tuple[Config, Below]:
    below: Below = {}
    for _ in range(5):  # a value may be made from one that was handed down itself
        found = {
            file.path: {name: file.own[name] for name in names[file.path]}
            for file in root.walk()
            if names.get(file.path)
        }
        if found == below:
            break
        below = found
        cfg, root = read_chain(path, everywhere, below)
    return cfg, below


def _any(file: File, name: str) -> bool:
    return True


def _does_not_arrive(file: File, name: str) -> bool:
    """Tell whether no key that the bases make from a name has the file's value."""
    value = file.own[name]
    reached = dict(flat(file.resolved))
    for base in file.bases:
        if name not in {n for f in base.walk() for n in f.assigned}:
            continue
        try:
            then = read_chain(base.path, {name: value})[0].to_dict()
        except Exception:  # the bases cannot take it: it is another thing
            return False
        new = dict(flat(then))
        made = [
            key
            for key in changed_keys(base.resolved, then)
            if key.partition(".")[0] != name
        ]
        if any(key in reached and reached[key] == new.get(key) for key in made):
            return False
    return True


def is_ours(root: File) -> bool:
    """Tell whether a config is of this package or based on one."""
    return any(file.is_shipped for file in root.walk())


def is_variable(name: str, cfg: Config) -> bool:
    """Tell whether a top-level name counts through what is made from it."""
    if name == "data_preprocessor":  # a model's own goes before it
        return "data_preprocessor" in (cfg.get("model") or {})
    return name in cfg and name not in READ


def _renamed(key: str, cfg: Config) -> str:
    """Give the key of a variable that has another name now; it says so."""
    name = RENAMED.get(key, key)
    if key in cfg or name not in cfg or name == key:
        return key
    said = f"{key} is called {name} now; the old name goes with the next release."
    print_log(said, logger="current", level=logging.WARNING)
    return name


def _by_name(options: Mapping[str, Any]) -> dict[str, Any]:
    """``{'a.b': 1}`` -> ``{'a': {'b': 1}}``, as mmengine merges it."""
    found: dict[str, Any] = {}
    for key, value in options.items():
        node, (*way, last) = found, key.split(".")
        for step in way:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise ConfigError(f"{key} does not fit beside {step}={node!r}.")
        node[last] = copy.deepcopy(value)
    return found


def _check_names(
    given: Mapping[str, Any], options: Mapping[str, Any], cfg: Config, ours: bool
) -> None:
    known = READ | set(cfg)
    for name in given:
        if name in known:
            continue
        if name in _LENGTHS:
            length = next(
                (k for k in _LENGTHS if k in (cfg.get("train_cfg") or {})), ""
            )
            raise ConfigError(
                f"{name} is not in the config: set train_cfg.{length or name} instead."
            )
        meant = nearest(name, known)
        if meant:
            raise ConfigError(f"{name} is not in the config: did you mean {meant}?")
        if ours:
            raise ConfigError(no_effect(name, cfg, "the command line"))
    check_nested(options, cfg)


def _check_kinds(variables: Mapping[str, Any], cfg: Config) -> None:
    for name, value in variables.items():
        if isinstance(value, str) and isinstance(cfg[name], (bool, int, float)):
            kind = "True or False" if isinstance(cfg[name], bool) else "a number"
            raise ConfigError(
                f"{name} expects {kind} (here {cfg[name]!r}), got {value!r}."
            )


def _check_effect(
    path: str | Path,
    variables: Mapping[str, Any],
    plain: Config,
    cfg: Config,
    ours: bool,
) -> None:
    reached = effective(cfg)
    for name, value in variables.items():
        if override(plain[name], value) == plain[name]:
            continue
        others = {key: v for key, v in variables.items() if key != name}
        rest = read_handed_down(path, others)[0] if others else plain
        if effective(rest) != reached:
            continue
        message = no_effect(name, plain, "the command line")
        if ours:
            raise ConfigError(message)
        print_log(message, logger="current", level=logging.WARNING)


def _check_files(path: str | Path, cfg: Config, root: File, below: Below) -> None:
    """Refuse a name of a user's file that is misspelt or has no effect."""
    files = list(root.walk())
    referred: set[str] = set().union(*(file.from_bases for file in files))
    outer: set[str] = set()
    for file in files:
        if file.external or not file.bases:
            continue
        there = file.below()
        idle = (file.own.keys() & file.assigned) - READ - file.loaded - referred - outer
        outer |= file.assigned
        for name in sorted(idle - there):
            if name.startswith("_"):
                continue
            said = f"{file.path} sets {name}, which nothing reads"
            if RENAMED.get(name) in there:
                raise ConfigError(f"{said}: it is called {RENAMED[name]} now.")
            meant = nearest(name, there | READ, 0.8)
            if meant:
                raise ConfigError(f"{said}: did you mean {meant}?")
            if not file.is_shipped:
                print_log(f"{said}.", logger="current", level=logging.WARNING)
        for name in sorted(idle & there):
            values = below.get(file.path, {})
            if file.is_shipped:
                continue  # a base's name may say nothing any more
            if name in values:
                kept = {n: v for n, v in values.items() if n != name}
                rest, _ = read_chain(path, None, {**below, file.path: kept})
                if effective(rest) != effective(cfg):
                    continue
            bases = [b.resolved[name] for b in file.bases if name in b.resolved]
            if bases and override(bases[0], file.own[name]) != bases[0]:
                raise ConfigError(no_effect(name, cfg, file.path))


def _name_what_is_built(
    path: str | Path,
    cfg: Config,
    old: Mapping[str, Any],
    variables: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    """Let a variable say what its keys were set to, if all of them were set to that."""
    now = dict(flat(effective(cfg)))
    before = dict(flat(old))
    for key in options:
        new = now.get(key)
        if key not in before or key not in now or new == before[key]:
            continue
        for name in list(cfg):
            value = variables.get(name, cfg[name])
            if not is_variable(name, cfg) or not _is_same(value, before[key]):
                continue
            try:
                then = effective(read_handed_down(path, {**variables, name: new})[0])
            except Exception:  # a value that the files cannot take is no variable's
                continue
            keys = changed_keys(old, then)
            # Schedulers follow a length by themselves.
            keys = [k for k in keys if not k.startswith("param_scheduler")] or keys
            reached = dict(flat(then))
            if key in keys and all(now.get(k) == reached.get(k) for k in keys):
                cfg[name] = new


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two simple values are equal; 1 is not True."""
    if not isinstance(one, (bool, int, float, str, type(None))):
        return False
    return one == other and isinstance(one, bool) == isinstance(other, bool)
