"""Positions that were trained at another image size come along, resized."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.runner import load_checkpoint
from mmengine.runner.checkpoint import load_state_dict
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError
from lbbt_mm.models import LanguageBackbone


def make(img_size, position: str = "learned", **options) -> LanguageBackbone:
    torch.manual_seed(len(str(img_size)))
    return LanguageBackbone(
        "gpt2",
        pretrained=False,
        num_layers=1,
        img_size=img_size,
        position=position,
        drop_rate=0.0,
        **{"patch_size": 8, **options},
    )


@pytest.fixture
def log(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize("position", ["learned", "sincos2d"])
@pytest.mark.parametrize("size", [48, (32, 64)])
def test_load_from_resizes_as_the_old_model_would(
    position, size, tmp_path, log
) -> None:
    """The new model is the old one fed with images of the new size."""
    old, new = make(32, position), make(size, position)
    with torch.no_grad():
        old.patch_embed.positions += torch.randn_like(old.patch_embed.positions)
    path = tmp_path / "old.pth"
    state = {f"backbone.{name}": value for name, value in old.state_dict().items()}
    torch.save({"state_dict": state}, path)
    whole = nn.Module()
    whole.backbone = new
    load_checkpoint(whole, str(path))
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.randn(2, 3, height, width)
    assert_close(new(images)[0], old(images)[0])
    said = [r.getMessage() for r in log.records if "resized" in r.getMessage()]
    rows, columns = height // 8, width // 8
    assert said == [
        f"Positions of 4x4 patches in the checkpoint are resized to the model's "
        f"{rows}x{columns}."
    ]


def test_it_is_mmpretrains_interpolation() -> None:
    from mmpretrain.models.utils import resize_pos_embed

    old, new = make(32), make(56)
    new.load_state_dict(old.state_dict())
    table = old.patch_embed.positions.detach()
    theirs = resize_pos_embed(table.flatten(0, 1)[None], (4, 4), (7, 7), "bicubic", 0)
    assert_close(new.patch_embed.positions.detach().flatten(0, 1), theirs[0])


def test_the_same_size_is_copied_bit_by_bit() -> None:
    old, new = make(32), make((32, 32))
    with torch.no_grad():
        new.patch_embed.positions.zero_()
    new.load_state_dict(old.state_dict())
    assert torch.equal(new.patch_embed.positions, old.patch_embed.positions)


def test_init_cfg_and_half_precision_too(tmp_path: Path) -> None:
    old = make(32)
    torch.save({"state_dict": old.half().state_dict()}, tmp_path / "old.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "old.pth"))
    new = make(48, init_cfg=init_cfg)
    new.init_weights()
    exact = F.interpolate(
        old.patch_embed.positions.float().permute(2, 0, 1)[None],
        size=(6, 6),
        mode="bicubic",
    )[0].permute(1, 2, 0)
    assert_close(new.patch_embed.positions, exact, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("other", [dict(patch_size=16), dict(in_channels=1)])
def test_another_patch_embedding_is_refused_not_drawn_anew(other) -> None:
    state = make(32, "none").state_dict()
    with pytest.raises(CheckpointError, match=r"patch embedding is 3x8x8 -> 768"):
        load_state_dict(make(32, "none", **other), state, strict=False)


def test_a_word_position_table_of_another_length_is_refused(tmp_path: Path) -> None:
    import transformers as hf

    sources = []
    for rows in (20, 24):
        config = hf.GPT2Config(n_embd=8, n_layer=1, n_head=2, n_positions=rows)
        hf.GPT2Model(config).save_pretrained(tmp_path / str(rows))
        sources.append(str(tmp_path / str(rows)))
    old, new = (
        LanguageBackbone(source, pretrained=False, img_size=32, patch_size=8)
        for source in sources
    )
    with pytest.raises(CheckpointError, match=r"20 positions.* 24"):
        load_state_dict(new, old.state_dict(), strict=False)
