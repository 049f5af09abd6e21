"""The table of docs/plug_in.md: each row builds its stock config and fills layers."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from shapes import Coded
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language.checkpoint import language_config
from lbbt_mm.transplant import TransplantError, make_plan
from lbbt_mm.transplant.compare import ACCEPTABLE
from lbbt_mm.transplant.meta_model import build_on_meta_device
from lbbt_mm.transplant.tables import TABLES

TEXT = (
    Path(__file__).resolve().parents[2].joinpath("docs/plug_in.md").read_text("utf-8")
)
ROWS = re.findall(
    r"^\| (mm\w+): `(\S+\.py)` \| `(\S+)` \| (?!`gpt2)(.*?) \| (.*?) ?\|$",
    TEXT,
    flags=re.M,
)


OTHERS = re.findall(
    r"^\| (mm\w+): `(\S+\.py)` \| `(\S+)` \| `(gpt2\S*)` \| (.*?) \|$", TEXT, flags=re.M
)


KINDS: dict[tuple[str, ...], type] = {}


@functools.lru_cache(maxsize=1)
def stock(package: str, name: str) -> nn.Module:
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    return build_on_meta_device(Config.fromfile(Path(folder, ".mim/configs", name)))


def layers_of(row: tuple[str, ...]) -> list[nn.Module]:
    package, name, path, *_ = row
    module = stock(package, name).get_submodule(path)
    layers = list(module) if isinstance(module, nn.ModuleList) else [module]
    KINDS[row] = type(layers[0])
    return layers


def chosen(length: int, wanted: int) -> np.ndarray:
    if length % wanted == 0:
        return np.arange(wanted) * (length // wanted)
    return torch.linspace(0, length - 1, wanted).round().long().numpy()


def expected(part: str, whole: np.ndarray, sizes: tuple[int, ...]) -> np.ndarray:
    """Select GPT-2's 768 channels, 12 heads of 64 and 3072 hidden channels anew."""
    width, heads, dim, hidden = sizes
    stream = chosen(768, width)
    # Every layer here has 12 heads or fewer, no wider than 64.
    head, channel = (chosen(12, heads), chosen(64, dim)) if heads else ([], [])
    rows = np.array([h * 64 + c for h in head for c in channel], int)
    inner = chosen(3072, hidden) if hidden else None
    axes = {
        "qkv": [np.concatenate([rows, rows + 768, rows + 1536]), stream],
        "out": [stream, rows],
        "up": [inner, stream],
        "down": [stream, inner],
        "positions": [np.arange(len(whole)), stream],
    }.get(part.partition(".")[0], [stream])
    return whole[np.ix_(*axes[: whole.ndim])]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]}-{row[2]}")
def test_a_row(row) -> None:
    package, name, module, fields, stays = row
    model = stock(package, name)
    layers = layers_of(row)
    options = {} if fields == "all" else eval(f"dict({fields.strip('`')})")
    copies = dict(module=module, fit="select", cycle=True, **options)
    source = Coded(language_config("gpt2"))
    plan = make_plan(model, source, [copies], list(ACCEPTABLE))
    for layer in layers:
        layer.to_empty(device="cpu")
    for key in ("final_norm", "positions"):
        if key in options:
            parent, _, last = options[key].rpartition(".")
            whole = model.get_submodule(parent)
            if key == "final_norm":
                getattr(whole, last).to_empty(device="cpu")
            else:
                table = torch.empty(getattr(whole, last).shape)
                setattr(whole, last, nn.Parameter(table))
    report = plan.apply(model)
    assert ("width" in report.inexact) == bool(report.selections)

    # What stays is what the table says, and nothing else.
    named = re.findall(r"`(\S+)`", stays)
    assert all(any(word in left for word in named) for left in plan.left)
    assert all(any(word in left for left in plan.left) for word in named)
    names = {id(p): n for n, p in model.named_parameters()}
    own = {names[id(p)] for layer in layers for p in layer.parameters()}
    filled = {row.parameter for row in plan.rows}
    assert filled & own == own - set(plan.left)

    # Each number comes from where the rule says.
    parameters = dict(model.named_parameters())
    shapes = {row.part: parameters[row.parameter].shape for row in plan.rows}
    width = shapes.get("attn_norm.weight", shapes.get("out.weight"))[0]
    hidden = shapes["up.weight"][0] if "up.weight" in shapes else 0
    heads, dim = _heads(layers[0], width) if "out.weight" in shapes else (0, 0)
    whole = {**source.block(0), "positions": source.positions()}
    norm = source.norm("final_norm")
    whole |= {f"final_norm.{kind}": tensor for kind, tensor in norm.items()}
    for row in plan.rows:
        got = parameters[row.parameter].detach()
        if row.part == "positions":
            table = whole["positions"][: got.shape[-2]]
            if len(table) < got.shape[-2]:
                assert "positions" in plan.inexact
                table = torch.tensor(
                    [
                        np.interp(np.linspace(0, 1, 1025), np.linspace(0, 1, 1024), one)
                        for one in table.double().numpy().T
                    ]
                ).T.float()
                want = expected("positions", table.numpy(), (width, 0, 0, 0))
                assert_close(got.flatten(0, 1), torch.from_numpy(want), rtol=1e-4,
                             atol=0)  # fmt: skip
                continue
            want = expected("positions", table.numpy(), (width, heads, dim, hidden))
        else:
            sizes = (width, heads, dim, hidden)
            want = expected(row.part, whole[row.part].numpy(), sizes)
            want = want[slice(*row.rows)]
        assert_close(got, torch.from_numpy(want).view_as(got), rtol=0, atol=0)


def _heads(layer: nn.Module, width: int) -> tuple[int, int]:
    heads = {m.num_heads for m in layer.modules() if hasattr(m, "num_heads")}
    (count,) = heads
    return count, width // count


def test_every_table_of_another_library_has_a_row() -> None:
    kinds = [KINDS[row] if row in KINDS else type(layers_of(row)[0]) for row in ROWS]
    met = {f"{k.__module__}.{k.__qualname__}" for kind in kinds for k in kind.__mro__}
    assert {name for name in TABLES if name.startswith("mm")} <= met
    assert len(ROWS) == 30


@pytest.mark.parametrize("row", OTHERS, ids=lambda row: row[1])
def test_an_exact_copy_into_another_config(row) -> None:
    package, name, module, language_model, words = row
    accept = re.findall(r"`(\w+)`", words)
    model, source = stock(package, name), Coded(language_config(language_model))
    plan = make_plan(model, source, [dict(module=module)], accept)
    assert set(plan.inexact) == set(accept) and not plan.selections
    assert bool(plan.left) == ("extra_parameters" in accept)
    layers = model.get_submodule(module)  # SAN has the first nine of CLIP's
    assert {row.block for row in plan.rows} == set(range(len(layers)))


def test_of_the_other_configs_there_are_nine() -> None:
    assert len(OTHERS) == 9 and not {row[:2] for row in OTHERS} & {r[:2] for r in ROWS}


@pytest.mark.parametrize(
    ("package", "name", "words"),
    [
        (
            "mmpretrain",
            "swin_transformer_v2/swinv2-tiny-w8_16xb64_in1k-256px.py",
            "SwinBlockV2 is a class that no table describes",
        ),
        (
            "mmpretrain",
            "eva02/eva02-tiny-p14_in1k.py",
            "EVA02EndcoderLayer is a class that no table describes",
        ),
        (
            "mmpretrain",
            "deit3/deit3-base-p16_64xb64_in1k.py",
            r"takes no norms: .* set parts=\['self_attn', 'ffn'\]",
        ),
    ],
)
def test_what_only_looks_alike_is_refused(package, name, words) -> None:
    swin = "swin" in name
    copies = dict(module=f"backbone.{'stages.0.blocks' if swin else 'layers'}")
    copies |= dict(fit="select", cycle=True)
    with pytest.raises(TransplantError, match=words):
        make_plan(
            stock(package, name),
            Coded(language_config("gpt2")),
            [copies],
            list(ACCEPTABLE),
        )


def test_the_hook_of_any_width_is_enough_and_each_word_is_needed() -> None:
    (lines,) = re.findall(r"```python\n# after _base_(.*?)```", TEXT, flags=re.S)
    names: dict = {}
    exec(compile("_base_" + lines, "docs/plug_in.md", "exec"), names)
    (hook,) = names["custom_hooks"]
    package, _, name = names["_base_"].partition("::")
    source = Coded(language_config(hook["language_model"]))
    plan = make_plan(stock(package, name), source, hook["copies"], hook["accept"])
    assert set(plan.inexact) == set(hook["accept"]) and not plan.left
    assert {row.block for row in plan.rows} == set(range(12))
