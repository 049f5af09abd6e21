"""``python -m lbbt_mm.transplant CONFIG``: a plan, or one sentence and status 2."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from shapes import FFN, GPT2, HEADS, WIDTH, make

from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.registry import HOOKS
from lbbt_mm.transplant.__main__ import main
from lbbt_mm.transplant.meta_model import build_on_meta_device

ROOT = Path(__file__).resolve().parents[2]


class OwnInit(LanguageInitHook):
    """A user's own."""


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("gpt2")
    make(GPT2, folder)
    return str(folder)


@pytest.fixture
def segmenter(gpt2) -> Config:
    """A small Segmenter of mmseg, whose decoder two blocks fit."""
    act_cfg = dict(type="GELU", approximate="tanh")
    copies = [dict(module="decode_head.layers", blocks="0:2")]
    hook = dict(type="lbbt_mm.LanguageInitHook", language_model=gpt2, copies=copies)
    return Config(
        dict(
            default_scope="mmseg",
            model=dict(
                type="EncoderDecoder",
                backbone=dict(
                    type="VisionTransformer", img_size=32, embed_dims=16, num_layers=1,
                    num_heads=2, final_norm=True,
                ),
                decode_head=dict(
                    type="SegmenterMaskTransformerHead", in_channels=16, channels=16,
                    num_classes=3, num_layers=2, num_heads=HEADS, embed_dims=WIDTH,
                    mlp_ratio=FFN // WIDTH, act_cfg=act_cfg,
                    loss_decode=dict(type="CrossEntropyLoss"),
                ),
            ),
            custom_hooks=[dict(type="EMAHook"), hook],
        )
    )  # fmt: skip


@pytest.fixture
def plan(tmp_path, monkeypatch, capsys):
    """Run the command on a config; returns (status, what it printed)."""

    def run(cfg: Config | Path, *options: str) -> tuple[int, str]:
        path = tmp_path / "config.py"
        if isinstance(cfg, Config):
            cfg.dump(path)
        else:
            path = cfg
        monkeypatch.setattr(sys, "argv", ["lbbt_mm.transplant", str(path), *options])
        try:
            status = main() or 0
        except SystemExit as end:
            status = end.code
        said = capsys.readouterr()
        if status:
            *_, last = said.err.splitlines()
            assert last.startswith("python -m lbbt_mm.transplant: error: ")
            assert "Traceback" not in said.err
            return status, last
        return status, said.out

    return run


def test_the_plan_of_a_config(segmenter, gpt2, plan) -> None:
    status, said = plan(segmenter)
    assert status == 0
    # 4 norms' and 8 projections' tensors in each of two layers, none left.
    assert f"{gpt2} (gpt2): 24 tensors to be copied" in said
    rows = [line.split() for line in said.splitlines() if "decode_head" in line]
    assert [row[:3] for row in rows] == [
        ["decode_head.layers.0", "block", "0"],
        ["decode_head.layers.1", "block", "1"],
    ]


def test_every_tensor_on_request(segmenter, plan) -> None:
    head = "custom_hooks.1.copies.0.final_norm=decode_head.decoder_norm"
    status, said = plan(segmenter, "--all", "--cfg-options", head)
    assert status == 0
    assert len([line for line in said.splitlines() if " <- " in line]) == 26
    assert "decode_head.layers.1.ffn.layers.0.0.weight <- block 1, up.weight" in said
    assert "decode_head.decoder_norm.bias <- last norm, final_norm.bias[0:32]" in said


def test_a_selection_says_its_channels(segmenter, plan) -> None:
    head = segmenter.model.decode_head
    head.update(embed_dims=24, num_heads=3, num_classes=3)
    assert "fit='select' in copies" in plan(segmenter)[1]
    segmenter.custom_hooks[1].copies[0].fit = "select"
    segmenter.custom_hooks[1].accept = ["width"]
    status, said = plan(segmenter, "--all")
    assert status == 0
    assert (
        "inexact, accepted: width: decode_head.layers.0 to decode_head.layers.1: 24"
        in (said)
    )
    assert "up.weight[0:96] of 24 channels, 3 heads of 8, 96 hidden channels" in said


def test_the_scratch_config_shows_the_plan_of_its_twin(segmenter, plan) -> None:
    _, language = plan(segmenter)
    segmenter.custom_hooks[1].pretrained = False
    status, scratch = plan(segmenter)
    assert status == 0 and scratch in language  # a library was talking, too


def test_two_hooks_that_fill_one_layer(segmenter, plan) -> None:
    hooks = segmenter.custom_hooks
    hooks.append(dict(hooks[1], copies=[dict(module="decode_head.layers.1", blocks=0)]))
    status, said = plan(segmenter)
    assert status == 2 and "would be filled twice, by hook 1 (" in said
    hooks[1]["pretrained"] = False  # it fills nothing in a run
    assert plan(segmenter)[0] == 0


def test_a_subclass_of_the_hook(segmenter, plan) -> None:
    HOOKS.register_module(module=OwnInit, force=True)
    _, own = plan(segmenter)
    segmenter.custom_hooks[1].type = "lbbt_mm.OwnInit"
    assert plan(segmenter) == (0, own)


def test_a_config_without_the_hook(segmenter, plan) -> None:
    del segmenter["custom_hooks"][1]
    status, said = plan(segmenter)
    assert status == 2
    assert "has no lbbt_mm.LanguageInitHook in custom_hooks" in said


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("model", "config.py has no model to copy into."),
        ("custom_hooks.1.copies", "LanguageInitHook in .*config.py lacks copies."),
        ("custom_hooks.1.language_model", "config.py lacks language_model."),
    ],
)
def test_a_config_that_lacks_something(segmenter, plan, path, words) -> None:
    node, *inner, last = segmenter, *path.split(".")
    for key in inner:
        node = node[int(key) if key.isdigit() else key]
    node.pop(last)
    status, said = plan(segmenter)
    assert status == 2 and re.search(words, said)


def test_a_config_of_a_library_that_does_not_import(
    segmenter, plan, monkeypatch
) -> None:
    segmenter.default_scope = "mmdet"
    monkeypatch.setitem(sys.modules, "mmcv.ops", None)
    status, said = plan(segmenter)
    assert status == 2 and "config.py needs mmdet>=3.2.0,<4.0, which does not" in said


def test_a_config_that_is_not_there(tmp_path, plan) -> None:
    status, said = plan(tmp_path / "gone.py")
    assert status == 2 and "gone.py does not exist" in said


def test_a_plan_that_does_not_work_out(segmenter, plan) -> None:
    segmenter.model.decode_head.act_cfg = dict(type="GELU")
    status, said = plan(segmenter)
    assert status == 2 and "add 'activation' to accept" in said


def test_a_language_model_that_is_not_there(segmenter, tmp_path, plan) -> None:
    segmenter.custom_hooks[1].language_model = str(tmp_path / "gone")
    status, said = plan(segmenter)
    assert status == 2 and str(tmp_path / "gone") in said


def test_others_warnings_are_left_out(segmenter, plan, monkeypatch, recwarn) -> None:
    from lbbt_mm.transplant import __main__ as command

    def build(cfg):
        warnings.warn("Fail to import ``MultiScaleDeformableAttention``", stacklevel=1)
        return build_on_meta_device(cfg)

    monkeypatch.setattr(command, "build_on_meta_device", build)
    status, _ = plan(segmenter)
    assert status == 0
    assert not [one for one in recwarn if "MultiScale" in str(one.message)]


@pytest.mark.slow
def test_under_its_own_name(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lbbt_mm.transplant", str(tmp_path / "gone.py")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("python -m lbbt_mm.transplant: error: the config")


def test_a_meta_model_needs_no_memory_and_leaves_the_config(segmenter) -> None:
    before = copy.deepcopy(segmenter.model)
    model = build_on_meta_device(segmenter)
    assert segmenter.model == before
    assert {p.device for p in model.parameters()} == {torch.device("meta")}
    drop_path = model.decode_head.layers[1].ffn.dropout_layer
    assert drop_path.drop_prob == pytest.approx(0.1)


def test_a_config_that_cannot_be_read_is_named(tmp_path, plan) -> None:
    path = tmp_path / "broken.py"
    path.write_text("_base_ = './gone.py'\n")
    status, said = plan(path)
    assert status == 2 and f"error: {path}: " in said
