"""Patches with the moments of words, and blocks from the middle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers as hf
from mmengine.config import Config
from torch import Tensor
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError, open_checkpoint
from lbbt_mm.language.residual import residual_rms, typical_word_embeddings
from lbbt_mm.measure import patch_moments
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.models.backbone.patch_moments import (
    PatchMoments,
    matched,
    measure_patches,
    read_moments,
)
from lbbt_mm.models.backbone.patch_tokens import PatchTokens

WIDTH = 32


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> str:
    torch.manual_seed(0)
    sizes = dict(hidden_size=WIDTH, intermediate_size=64, num_attention_heads=4)
    config = hf.LlamaConfig(**sizes, num_hidden_layers=5, vocab_size=640)
    model = hf.LlamaModel(config)
    with torch.no_grad():  # words that are larger along some channels, off centre
        model.embed_tokens.weight.mul_(torch.linspace(0.2, 3, WIDTH)).add_(0.01)
    path = tmp_path_factory.mktemp("llama")
    model.save_pretrained(path)
    return str(path)


def images(size: tuple[int, int] = (32, 32), number: int = 64) -> Tensor:
    noise = torch.randn(number, 3, *size, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    return smooth * torch.tensor([1.0, 2.0, 0.5]).view(3, 1, 1) + 0.3


def covariance(tokens: Tensor) -> Tensor:
    return torch.cov(tokens.flatten(0, -2).double().t(), correction=0)


@pytest.mark.parametrize("size", [(32, 32), (30, 29)])
def test_patches_are_those_that_the_embedding_sees(size) -> None:
    moments = measure_patches(images(size).split(20), 4)
    embed = PatchTokens(48, (32, 32), 4, 3, "none")
    with torch.no_grad():  # every number of a patch becomes a channel
        embed.projection.weight.copy_(torch.eye(48).view(48, 3, 4, 4))
        tokens, _ = embed(images(size))
    assert_close(moments.mean, tokens.flatten(0, 1).double().mean(0))
    assert_close(moments.covariance, covariance(tokens), rtol=1e-4, atol=1e-6)


def test_tokens_have_the_moments_of_words(source, tmp_path) -> None:
    path = str(tmp_path / "patches.pth")
    measure_patches([images()], 4).save(path)
    torch.manual_seed(3)
    options = dict(img_size=32, patch_size=4, num_layers=2)
    options |= dict(token_scale="moments", patch_moments=path)
    backbone = LanguageBackbone(source, **options)
    backbone.init_weights()
    with torch.no_grad():
        tokens, _ = backbone.patch_embed(images())
    words = typical_word_embeddings(open_checkpoint(source), 8 * WIDTH)
    typical = residual_rms(backbone.language, words)
    words = words * typical / words.pow(2).mean().sqrt()
    assert float(tokens.pow(2).mean().sqrt()) == pytest.approx(typical, rel=1e-3)
    found, wanted = covariance(tokens), covariance(words)
    assert_close(found, wanted, atol=1e-4 * float(wanted.max()), rtol=0)
    assert_close(tokens.mean((0, 1)), words.mean(0), rtol=1e-3, atol=1e-5)
    other = LanguageBackbone(source, **options)  # another draw, the same moments
    other.init_weights()
    first, second = (m.patch_embed.projection.weight for m in (backbone, other))
    assert (first != second).all()

    scratch = LanguageBackbone(source, pretrained=False, **options)
    scratch.init_weights()
    with torch.no_grad():
        found = covariance(scratch.patch_embed(images())[0])
    isotropic = torch.eye(WIDTH) * found.diagonal().mean()
    assert (found - isotropic).abs().max() < 0.6 * found.diagonal().mean()


def test_fewer_directions_than_channels_take_the_strongest() -> None:
    torch.manual_seed(0)
    words = torch.randn(500, 6) * torch.tensor([5.0, 4.0, 3.0, 0.1, 0.1, 0.1])
    patches = torch.randn(400, 4) @ torch.diag(torch.tensor([3.0, 1.0, 2.0, 1e-6]))
    patches = patches.double()
    moments = PatchMoments(patches.mean(0), torch.cov(patches.t(), correction=0))
    kernel, bias = matched(moments, words)
    tokens = patches @ kernel.t() + bias
    wanted, _ = torch.linalg.eigh(covariance(words))
    found, _ = torch.linalg.eigh(covariance(tokens))
    assert_close(found[-3:], wanted[-3:], rtol=1e-3, atol=1e-6)
    assert found[:3].abs().max() < 1e-6  # the fourth direction is rounding


def test_a_file_that_does_not_fit_is_one_sentence(source, tmp_path) -> None:
    path = str(tmp_path / "patches.pth")
    with pytest.raises(CheckpointError, match="there is no file.*patch_moments CONFIG"):
        read_moments(path, 48)
    measure_patches([images()], 4).save(path)
    with pytest.raises(CheckpointError, match="patches of 48 numbers.*have 192"):
        read_moments(path, 192)
    torch.save(dict(mean=torch.zeros(3)), path)
    with pytest.raises(CheckpointError, match="holds other things"):
        read_moments(path, 48)


def test_it_measures_training_images(write_idx_images, source, tmp_path) -> None:
    write_idx_images(tmp_path, 20)
    root = Path(__file__).resolve().parents[3]
    cfg = Config.fromfile(
        root / "configs/bridge/smollm2-b8_language_random100_6e_fashion-mnist.py"
    )
    cfg.merge_from_dict(
        {
            "model.backbone.language_model": source,
            "model.backbone.num_layers": 2,
            "model.backbone.token_scale": "moments",
            "model.backbone.patch_moments": "not there yet.pth",
            "model.head.in_channels": WIDTH,
            "train_dataloader.dataset.dataset.data_root": str(tmp_path),
            "train_dataloader.dataset.dataset.indices": None,
            "test_dataloader.dataset.data_root": str(tmp_path),
        }
    )
    moments = patch_moments.patch_moments(cfg, 12)
    side = cfg.model.backbone.patch_size
    assert moments.covariance.shape == (side**2 * cfg.model.backbone.in_channels,) * 2
    assert moments.covariance.diagonal().max() > 0.01
    assert cfg.model.backbone.token_scale == "moments"


def test_blocks_come_from_the_middle(source) -> None:
    backbone = LanguageBackbone(source, num_layers=2, first_block=2, img_size=32)
    backbone.init_weights()
    checkpoint = open_checkpoint(source)
    for index in range(2):
        for name, value in checkpoint.block(2 + index).items():
            found = backbone.language.blocks[index].get_parameter(name)
            assert_close(found.detach(), value, rtol=0, atol=0)
    assert backbone.language.origin["first_block"] == 2
    beyond = LanguageBackbone(source, num_layers=2, first_block=4, img_size=32)
    with pytest.raises(CheckpointError, match=r"first_block 4 \+ num_layers: 6 > 5"):
        beyond.init_weights()
