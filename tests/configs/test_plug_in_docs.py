"""docs/plug_in.md: its lines, added to the configs inside the installed packages."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch import nn

from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.language.checkpoint import language_config
from lbbt_mm.registry import HOOKS
from lbbt_mm.transplant import Copy, make_plan
from lbbt_mm.transplant.compare import ACCEPTABLE
from lbbt_mm.transplant.meta_model import build_on_meta_device

from shipped import ROOT  # isort: skip

TEXT = (ROOT / "docs/plug_in.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
STOCK = [block for block in PYTHON if re.match(r"# mm\w+: ", block)]


def theirs(lines: str) -> tuple[str, Path]:
    """Find the config that a block's first line names, and its library."""
    package, name = re.match(r"# (\w+): (\S+\.py)\n", lines).groups()
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    return package, Path(folder, ".mim/configs", name)


def added(lines: str, folder: Path) -> Config:
    """Add the lines, and only these, to the stock config."""
    path = folder / "mine.py"
    path.write_text(f"_base_ = {str(theirs(lines)[1])!r}\n\n{lines}")
    return Config.fromfile(path)


def test_one_block_for_each_library() -> None:
    assert [theirs(lines)[0] for lines in STOCK] == ["mmseg", "mmpretrain", "mmdet"]


@pytest.mark.parametrize("lines", STOCK, ids=lambda lines: theirs(lines)[1].stem)
def test_the_lines_are_enough(lines: str, tmp_path: Path) -> None:
    stock, cfg = Config.fromfile(theirs(lines)[1]), added(lines, tmp_path)
    assert "custom_imports" not in cfg
    assert isinstance(HOOKS.build(cfg.custom_hooks[-1]), LanguageInitHook)
    model = build_on_meta_device(cfg)
    assert type(model) is type(build_on_meta_device(stock))
    (fields,) = (hook for hook in cfg.custom_hooks if "LanguageInit" in hook.type)
    # As complete as the file would be: the architecture decides.
    source = SimpleNamespace(
        config=language_config(fields.language_model), source=fields.language_model
    )
    plan = make_plan(model, source, fields.copies)
    assert plan.inexact == {} and plan.left == []
    layers = [model.get_submodule(copy.module) for copy in fields.copies]
    blocks = {row.block for row in plan.rows if row.block >= 0}
    assert blocks == set(range(len(layers[0])))
    filled = {row.parameter for row in plan.rows}
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for stack in layers for p in stack.parameters()} <= filled


def test_each_line_is_needed(tmp_path: Path) -> None:
    """The hook alone is refused: the stock layers differ in what the lines change."""
    words = {"mmseg": "activation", "mmpretrain": "norm_eps", "mmdet": "num_heads"}
    for lines in STOCK:
        package, path = theirs(lines)
        hook = added(lines, tmp_path).custom_hooks[-1]
        source = SimpleNamespace(
            config=language_config(hook.language_model), source="it"
        )
        with pytest.raises(ValueError, match=words[package]):
            make_plan(build_on_meta_device(Config.fromfile(path)), source, hook.copies)


def test_the_widened_detr_has_one_width(tmp_path: Path) -> None:
    (lines,) = [lines for lines in STOCK if lines.startswith("# mmdet")]
    model = build_on_meta_device(added(lines, tmp_path))
    assert {
        model.embed_dims,
        model.neck.convs[0].conv.out_channels,
        model.bbox_head.fc_cls.in_features,
        model.query_embedding.embedding_dim,
        2 * model.positional_encoding.num_feats,
    } == {384}


def test_the_table_of_fields_and_the_words_of_accept() -> None:
    words = set(re.findall(r"^\| `(\w+)` \|", TEXT, flags=re.M))
    assert words == {*Copy.__dataclass_fields__, *ACCEPTABLE}


def test_the_mapping_describes_a_layer_of_ones_own() -> None:
    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(768), nn.LayerNorm(768)
            self.attn = nn.ModuleDict({k: nn.Linear(768, 768) for k in "qkv"})
            self.attn["out"] = nn.Linear(768, 768)
            act = nn.GELU(approximate="tanh")
            self.mlp = nn.Sequential(nn.Linear(768, 3072), act, nn.Linear(3072, 768))

    (lines,) = [block for block in PYTHON if block.startswith("mapping")]
    names: dict = {}
    exec(compile(lines, "docs/plug_in.md", "exec"), names)
    model = nn.Module()
    model.blocks = nn.ModuleList(Layer().to("meta") for _ in range(12))
    source = SimpleNamespace(config=language_config("gpt2"), source="gpt2")
    plan = make_plan(model, source, names["copies"])
    assert {row.parameter for row in plan.rows} == set(dict(model.named_parameters()))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([\w./]+)[#)]", TEXT))))
def test_links_lead_somewhere(target: str) -> None:
    assert (ROOT / "docs" / target).is_file()
