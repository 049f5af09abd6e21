"""Read a config that a run dumped beside its logs, without running it as code."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def read_dumped_config(path: Path) -> dict[str, Any]:
    """Read what mmengine dumped: assignments of literals and of ``dict(...)``.

    Returns:
        Name -> value. What is not a literal is left out.

    Raises:
        ValueError: It is not Python.
        OSError: It cannot be read.
    """
    return parse_dumped_config(path.read_text(encoding="utf-8"), str(path))


def parse_dumped_config(text: str, where: str) -> dict[str, Any]:
    """Read the text of a dumped config, as a checkpoint also carries it.

    Args:
        text: Python, of which nothing is run.
        where: Its origin, for the message.

    Raises:
        ValueError: It is not Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the style of somebody's Python
            tree = ast.parse(text)
    # Brackets in thousands of levels are too much for the parser.
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"{where} is not a config as a run dumps it: {error or 'too many levels'}."
        ) from error
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = _value(node.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                continue
    return found


def at(config: Any, *keys: str) -> Any:
    """Follow keys into nested dicts or a config; ``None`` where one is missing."""
    here = config
    for key in keys:
        get = getattr(here, "get", None)
        here = get(key) if callable(get) else None
    return here


def plain_model(config: Any) -> Any:
    """Find the model, if any, in what stands around it: it is the ``module`` there."""
    model = at(config, "model")
    inner = at(model, "module")
    # The config that tools/test.py --tta dumps is the run's latest.
    return inner if at(inner, "type") and not at(model, "backbone") else model


def language_hooks(
    config: Any, find: Callable[[Any], Any] | None = None
) -> list[Mapping[str, Any]]:
    """Find the LanguageInitHooks: what they copy belongs to the model's start.

    `find` is that of :func:`describe_labels`.
    """
    hooks = at(config, "custom_hooks")
    return [
        hook
        for hook in (hooks if isinstance(hooks, (list, tuple)) else ())
        if _said(hook, "copies_language_blocks", _HOOKS, find)
    ]


def language_start(
    config: Any, find: Callable[[Any], Any] | None = None
) -> tuple[str, str | None] | None:
    """Say what a model starts from, where LanguageInitHook decides it.

    Returns:
        ``'language'`` or ``'scratch'``, and the language model; ``None`` without such
        a hook.
    """
    hooks = language_hooks(config, find)
    if not hooks:
        return None
    copies = any(
        hook.get("pretrained", True) and hook.get("language_model") != "mimetic"
        for hook in hooks
    )
    return "language" if copies else "scratch", hooks[0].get("language_model")


def _class_name(kind: Any) -> str:
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.rpartition(".")[2]


def innermost_dataset(config: Mapping[str, Any], loader: str) -> Mapping[str, Any]:
    """Find the dataset of a loader in all its wrappers."""
    dataset = at(config, loader, "dataset")
    while isinstance(at(dataset or {}, "dataset"), Mapping):
        dataset = dataset["dataset"]
    return dataset if isinstance(dataset, Mapping) else {}


# What a class of lbbt_mm says of itself in an attribute, for configs that are data and
# for classes of other libraries; any wrapper that is not here may do anything.
_HOOKS = {"LanguageInitHook": True}
_LABELS = {
    "RandomLabelDataset": "random",
    "RotationDataset": "self-made",
    "InstanceLabelDataset": "self-made",
    "FewLabelDataset": "kept",
    "FewTrueLabelsDataset": "kept",
    "SkipDamagedImages": "kept",
    "RepeatDataset": "kept",
    "ClassBalancedDataset": "kept",
    "ConcatDataset": "kept",
    "KFoldDataset": "kept",
    "MultiImageMixDataset": "kept",
}


def _said(
    node: Any,
    attribute: str,
    table: Mapping[str, Any],
    find: Callable[[Any], Any] | None,
) -> Any:
    """What a class says of itself, or the table of it and of what it inherits from."""
    kind = find(node) if find else None
    if not isinstance(kind, type):
        return table.get(_class_name(at(node, "type")))
    said = (table[one.__name__] for one in kind.__mro__ if one.__name__ in table)
    return getattr(kind, attribute, None) or next(said, None)


def describe_labels(config: Any, find: Callable[[Any], Any] | None = None) -> str:
    """Say which labels a run trains on.

    Args:
        config: Of the run.
        find: Of a dataset's config, its class, whose ``label_source`` counts: a user's
            may say ``'random'``, ``'self-made'`` or ``'kept'``. Default: the names in
            the config, for a config that is data.

    Returns:
        ``'random'``, ``'true'``, for a share of them ``'15 % random'``, and
        ``'self-made'`` for those that images make themselves; ``'of MyLabels'`` for a
        wrapper that does not say, which may do anything; ``''`` if the config has no
        training images.
    """
    dataset = at(config, "train_dataloader", "dataset")
    if not isinstance(dataset, Mapping):
        return ""
    while isinstance(dataset, Mapping):
        source = _said(dataset, "label_source", _LABELS, find)
        if source == "random":
            ratio = dataset.get("ratio", 1.0)
            if not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
                return "random" if ratio else "true"
            return f"{100 * ratio:g} % random"
        if source == "self-made":
            return source
        inner = dataset.get("dataset")
        if isinstance(inner, Mapping) and source != "kept":
            return f"of {_class_name(dataset.get('type'))}"
        dataset = inner
    return "true"


def describe_dataset(
    config: Mapping[str, Any], loader: str = "train_dataloader"
) -> str:
    """Name a run's training images as its config does, such as ``'fashion-mnist'``."""
    dataset = innermost_dataset(config, loader)
    kind, classes = _class_name(dataset.get("type")), dataset.get("classes")
    # The set whose classes it has (IdxDataset); of mmpretrain's it may be a file.
    if isinstance(classes, str) and re.fullmatch(r"[\w -]+", classes):
        return plain_name(classes)
    root = str(dataset.get("data_root") or "").rstrip("/")
    return plain_name(kind or Path(root).name) if kind or root else ""


def plain_name(dataset: str) -> str:
    """Spell the name of a dataset in one way: ``FashionMNIST`` is ``fashion-mnist``."""
    words = re.sub(r"[\s_]+", "-", dataset.strip())
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", words)
    return words.lower().removesuffix("-dataset")


def short_model(name: str) -> str:
    """Name a language model without its file's folders and endings."""
    words = name.removeprefix("package:").rstrip("/").split("/")
    last = words[-1].removesuffix(".gguf").removesuffix(".safetensors")
    generic = last in ("model", "pytorch_model", "") and len(words) > 1
    return words[-2] if generic else last


def _value(node: ast.AST) -> Any:
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != "dict" or node.args:
            raise ValueError("a call")
        return {word.arg: _value(word.value) for word in node.keywords if word.arg}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {_value(key): _value(value) for key, value in pairs if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_value(one) for one in node.elts]
        return values if isinstance(node, ast.List) else tuple(values)
    return ast.literal_eval(node)


def last_checkpoint(config: Mapping[str, Any]) -> str:
    """Name the checkpoint that a training ends with; ``''`` if unknown."""
    for kind in ("epoch", "iter"):
        length = at(config, "train_cfg", f"max_{kind}s")
        if isinstance(length, int) and 0 < length < 2**63:
            return f"{kind}_{length}.pth"
    return ""
