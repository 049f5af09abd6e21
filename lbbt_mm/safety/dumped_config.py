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
    config: Any, names_of: Callable[[Any], set[str]] | None = None
) -> list[Mapping[str, Any]]:
    """Find the LanguageInitHooks: what they copy belongs to the model's start.

    `names_of` is that of :func:`describe_labels`.
    """
    hooks = at(config, "custom_hooks")
    return [
        hook
        for hook in (hooks if isinstance(hooks, (list, tuple)) else ())
        if "LanguageInitHook"
        in (names_of(hook) if names_of else {_class_name(at(hook, "type"))})
    ]


def language_start(
    config: Any, names_of: Callable[[Any], set[str]] | None = None
) -> tuple[str, str | None] | None:
    """Say what a model starts from, where LanguageInitHook decides it.

    Returns:
        ``'language'`` or ``'scratch'``, and the language model; ``None`` without such
        a hook.
    """
    hooks = language_hooks(config, names_of)
    if not hooks:
        return None
    copies = any(hook.get("pretrained", True) for hook in hooks)
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


# What leaves each image its label; any other wrapper may do anything to it.
_KEEP_LABELS = {
    "RepeatDataset",
    "ClassBalancedDataset",
    "ConcatDataset",
    "KFoldDataset",
    "MultiImageMixDataset",
    "FewLabelDataset",
    "FewTrueLabelsDataset",
    "SkipDamagedImages",
}


def describe_labels(
    config: Any, names_of: Callable[[Any], set[str]] | None = None
) -> str:
    """Say which labels a run trains on.

    Args:
        config: Of the run.
        names_of: Of a dataset's config, the names of its class and of what that one
            inherits from; default: what the config says, for a config that is data.

    Returns:
        ``'random'``, ``'true'``, for a share of them ``'15 % random'``, and
        ``'self-made'`` for those that images make themselves; ``'of MyLabels'`` for a
        wrapper of another name, which may do anything; ``''`` if the config has no
        training images.
    """
    dataset = at(config, "train_dataloader", "dataset")
    if not isinstance(dataset, Mapping):
        return ""
    while isinstance(dataset, Mapping):
        name = _class_name(dataset.get("type"))
        names = names_of(dataset) if names_of else {name}
        if "RandomLabelDataset" in names:
            ratio = dataset.get("ratio", 1.0)
            if not isinstance(ratio, (int, float)) or not 0 < ratio < 1:
                return "random" if ratio else "true"
            return f"{100 * ratio:g} % random"
        if names & {"RotationDataset", "InstanceLabelDataset"}:
            return "self-made"
        inner = dataset.get("dataset")
        if isinstance(inner, Mapping) and not names & _KEEP_LABELS:
            return f"of {name}"
        dataset = inner
    return "true"


def describe_dataset(config: Mapping[str, Any]) -> str:
    """Name a run's training images as its config does, such as ``'fashion-mnist'``."""
    dataset = innermost_dataset(config, "train_dataloader")
    kind = str(dataset.get("type", "")).rpartition(".")[2]
    if kind == "IdxDataset" and isinstance(dataset.get("classes"), str):
        return plain_name(dataset["classes"])
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
    """Name the checkpoint that a training ends with; ``CHECKPOINT`` if unknown."""
    for kind in ("epoch", "iter"):
        length = at(config, "train_cfg", f"max_{kind}s")
        if isinstance(length, int) and 0 < length < 2**63:
            return f"{kind}_{length}.pth"
    return "CHECKPOINT"
