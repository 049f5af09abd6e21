"""A bridge named as the language model: nothing of it is lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone

TINY = dict(num_layers=1, img_size=16, patch_size=8)


def bridge(tmp_path: Path, prefix: str = "backbone.", **options) -> tuple[str, dict]:
    """Save a model whose backbone was drawn, as a run does."""
    torch.manual_seed(7)
    built = dict(TINY, pretrained=False) | options
    model = LanguageBackbone("distilgpt2", **built)
    model.init_weights()
    state = model.state_dict()
    saved = {f"{prefix}{name}": value for name, value in state.items()}
    path = tmp_path / "bridge.pth"
    torch.save(dict(state_dict=saved, meta={}), path)
    return str(path), state


def start(path: str, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    model = LanguageBackbone(path, **(TINY | options))
    model.init_weights()
    return model.eval()


@pytest.fixture
def said(monkeypatch) -> list[str]:
    """What is logged of a bridge."""
    from lbbt_mm.models.backbone import bridge_source

    lines: list[str] = []
    monkeypatch.setattr(
        bridge_source, "print_log", lambda text, **options: lines.append(text)
    )
    return lines


@pytest.mark.parametrize("prefix", ["backbone.", "", "module.vision_encoder."])
@pytest.mark.parametrize("position", ["language", "sincos2d", "learned", "none"])
def test_the_patch_embedding_comes_along(tmp_path, said, prefix, position) -> None:
    path, state = bridge(tmp_path, prefix, position=position)
    model = start(path, position=position)
    for name, value in state.items():
        if not name.endswith("_extra_state"):
            assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    assert len(said) == 1 and "patch embedding" in said[0]
    assert ("positions" in said[0]) == (position in ("sincos2d", "learned"))


@pytest.mark.parametrize("by", ["init_cfg", "language_model"])
def test_a_new_patch_embedding_on_the_bridges_blocks(tmp_path, by) -> None:
    """As the authors' probes start; the same draw as without a bridge."""
    path, state = bridge(tmp_path)
    options = dict(new_patch_embed=True)
    if by == "init_cfg":
        load = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
        options |= dict(pretrained=False, init_cfg=load)
    model = start("distilgpt2" if by == "init_cfg" else path, **options)
    for name, value in model.state_dict().items():
        if name.startswith("language.") and not name.endswith("_extra_state"):
            assert_close(value, state[name], rtol=0, atol=0)
    kernel = "patch_embed.projection.weight"
    assert not torch.equal(model.state_dict()[kernel], state[kernel])
    again = LanguageBackbone("distilgpt2", pretrained=False, **TINY)
    again.load_state_dict(model.state_dict())  # resuming keeps what was drawn
    assert_close(again.state_dict()[kernel], model.state_dict()[kernel])


def test_learned_positions_are_resized(tmp_path) -> None:
    path, state = bridge(tmp_path, position="learned")
    model = start(path, position="learned", img_size=32)
    table = state["patch_embed.positions"].permute(2, 0, 1)[None]
    wanted = torch.nn.functional.interpolate(table, (4, 4), mode="bicubic")
    assert_close(model.patch_embed.positions, wanted[0].permute(1, 2, 0))


@pytest.mark.parametrize("other", [dict(patch_size=4), dict(in_channels=1)])
def test_one_that_does_not_fit_is_drawn_and_said(tmp_path, said, other) -> None:
    path, _ = bridge(tmp_path)
    model = start(path, **other)
    (line,) = said
    assert "without its patch embedding, which is drawn anew" in line
    assert "[768, 3, 8, 8]" in line and "patch_size and in_channels" in line
    assert model.patch_embed.projection.weight.std() > 0


def test_positions_of_another_kind_stay_behind_and_are_said(tmp_path, said) -> None:
    path, state = bridge(tmp_path, position="learned")
    model = start(path, position="sincos2d")
    words = "('learned') do not come along, for position='sincos2d'"
    assert any(words in line for line in said)
    weight = state["patch_embed.projection.weight"]
    assert_close(model.patch_embed.projection.weight, weight, rtol=0, atol=0)


def test_same_features_as_the_bridge(tmp_path) -> None:
    path, state = bridge(tmp_path)
    whole = LanguageBackbone("distilgpt2", **TINY)
    whole.load_state_dict(state)
    images = torch.randn(2, 3, 16, 16)
    assert_close(start(path)(images), whole.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize(
    "saved, built, words",
    [
        (
            dict(attention="causal"),
            dict(attention="bidirectional"),
            "attention='causal' there, 'bidirectional' here",
        ),
        (
            dict(position="language"),
            dict(position="none"),
            "position='language' there, 'none' here",
        ),
        (
            dict(out_type="last"),
            dict(out_type="avg"),
            "out_type='last' there, 'avg' here",
        ),
    ],
)
def test_another_use_of_the_same_weights_is_said(
    tmp_path, said, saved, built, words
) -> None:
    """Neither is in a tensor: rotary positions and the mask leave no trace."""
    smol = "HuggingFaceTB/SmolLM2-135M"
    torch.manual_seed(0)
    model = LanguageBackbone(smol, **TINY, pretrained=False, **saved)
    other = LanguageBackbone(smol, **TINY, pretrained=False, **built)
    other.load_state_dict(model.state_dict())
    assert any(words in line for line in said)
    said.clear()
    LanguageBackbone(smol, **TINY, pretrained=False, **saved).load_state_dict(
        model.state_dict()
    )
    assert said == []
    torch.save(model.state_dict(), tmp_path / "bridge.pth")
    start(str(tmp_path / "bridge.pth"), **built)
    assert any(words in line for line in said)


def test_another_block_of_the_same_weights_is_said(said) -> None:
    two = dict(TINY, num_layers=2, pretrained=False)
    state = LanguageBackbone("distilgpt2", **two).state_dict()
    LanguageBackbone("distilgpt2", **two, out_indices=[0]).load_state_dict(state)
    assert any("out_indices=[-1] there, [-2] here" in line for line in said)


def test_maps_of_the_same_weights_are_no_other_use(tmp_path, said) -> None:
    """A bridge that was trained as a classifier and becomes a detector's backbone."""
    path, _ = bridge(tmp_path)
    start(path, out_type="featmap")
    assert not [line for line in said if " there, " in line]


def test_checkpoints_of_before_say_nothing_of_their_use(said) -> None:
    from lbbt_mm.language.record import encode_record

    model = LanguageBackbone("distilgpt2", **TINY, pretrained=False)
    state = model.state_dict()
    old = dict(config=model.language.config.to_dict(), origin=dict(source=None))
    state["language._extra_state"] = encode_record(old)
    other = dict(TINY, attention="bidirectional", pretrained=False)
    LanguageBackbone("distilgpt2", **other).load_state_dict(state)
    assert said == []


def test_a_scale_of_tokens_that_has_no_effect_is_said(tmp_path, said) -> None:
    path, _ = bridge(tmp_path)
    start(path, token_scale="residual")
    assert any("token_scale='residual' has no effect" in line for line in said)
