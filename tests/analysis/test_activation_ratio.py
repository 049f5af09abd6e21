"""Activation ratio: hand-worked, both rules, streamed, and nothing is left behind."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from lbbt_mm.analysis.activation import activation_ratio
from lbbt_mm.models import LanguageBackbone


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Write one plain and one gated model."""
    import transformers as hf

    gpt2 = hf.GPT2Config(n_embd=16, n_layer=3, n_head=2, n_positions=20, vocab_size=32)
    llama = hf.LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=32,
        max_position_embeddings=64,
    )
    folder = tmp_path_factory.mktemp("models")
    hf.GPT2Model(gpt2).save_pretrained(folder / "gpt2")
    hf.LlamaModel(llama).save_pretrained(folder / "llama")
    return {name: str(folder / name) for name in ("gpt2", "llama")}


def make(source: str, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    kwargs = {"img_size": 16, "patch_size": 4, "pretrained": False, **options}
    backbone = LanguageBackbone(source, **kwargs)
    for parameter in backbone.parameters():  # biases too, so that ratios differ
        parameter.data += 0.1 * torch.randn_like(parameter)
    return backbone


def by_hand(backbone: LanguageBackbone, images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """MLP and attention means (images, neurons) of every block, written out."""
    backbone.eval()
    found = []
    with torch.no_grad():
        tokens, _ = backbone.patch_embed(images)
        tokens = backbone.language.embed(tokens)
        rotary = backbone.language.relative_positions(tokens)
        for block in backbone.language.blocks:
            attended = block.attention(block.attn_norm(tokens), True, rotary, False)
            tokens = tokens + attended
            normed = block.ffn_norm(tokens)
            first = block.gate if block.config.gated else block.up
            hidden = block.activation(first(normed))
            tokens = tokens + block.ffn(normed)
            found.append((hidden.mean(dim=1), attended.abs().mean(dim=1)))
    return found


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("out_type", ["last", "avg"])
def test_agrees_with_the_formula_written_out(sources, name, out_type) -> None:
    backbone = make(sources[name], out_type=out_type)
    assert backbone.language.config.gated == (name == "llama")
    images = torch.randn(7, 3, 16, 16)
    expected = by_hand(backbone, images)
    batches = list(images.split(3))  # 3, 3 and 1: a mean of batch means would be wrong
    zero = activation_ratio(backbone, batches)
    reference = activation_ratio(backbone, batches, "reference")
    assert len(zero) == len(reference) == backbone.num_layers
    for index, (mlp, attended) in enumerate(expected):
        assert zero[index].ratio == pytest.approx((mlp > 0).double().mean().item())
        assert 0.0 < zero[index].ratio < 1.0
        assert zero[index].threshold == 0.0
        assert zero[index].neurons == mlp.shape[1]
        limit = 0.6 * attended.mean()
        # float32 against float64 means
        assert reference[index].threshold == pytest.approx(limit.item(), rel=1e-5)
        active = (attended > limit).double()
        assert reference[index].ratio == pytest.approx(active.mean().item())
        band = active.mean(dim=0).std(correction=0).item()
        assert reference[index].neuron_std == pytest.approx(band)
        assert reference[index].neurons == 16
        assert (zero[index].block, zero[index].images) == (index, 7)


def test_a_case_worked_by_hand(sources) -> None:
    backbone = make(sources["gpt2"], num_layers=1)
    block = backbone.language.blocks[0]
    with torch.no_grad():
        # Neurons see nothing but their bias: 16 of 64 are above zero in every image.
        block.up.weight.zero_()
        block.up.bias.copy_(torch.tensor([1.0] * 16 + [-1.0] * 32 + [0.0] * 16))
        # Attention outputs are its bias: mean 1, and 0.6 of it is passed by 4 of 16.
        block.out.weight.zero_()
        block.out.bias.copy_(torch.tensor([-2.5] * 2 + [2.5] * 2 + [0.5] * 12))
    images = [torch.randn(2, 3, 16, 16)] * 2
    (zero,) = activation_ratio(backbone, images)
    assert (zero.ratio, zero.images, zero.neurons) == (0.25, 4, 64)
    # each neuron is activated by all images or by none: a variance of 1/4 * 3/4
    assert zero.neuron_std == pytest.approx(math.sqrt(3) / 4)
    (reference,) = activation_ratio(backbone, images, "reference")
    assert reference.ratio == 0.25
    assert reference.threshold == pytest.approx(0.6)


def test_any_grouping_into_batches_gives_the_same(sources) -> None:
    backbone = make(sources["gpt2"])
    images = torch.randn(6, 3, 16, 16)
    for rule in ("zero", "reference"):
        whole = activation_ratio(backbone, [images], rule)
        single = activation_ratio(backbone, list(images.split(1)), rule)
        for a, b in zip(whole, single, strict=True):
            assert_close(a.ratio, b.ratio)
            assert_close(a.threshold, b.threshold, rtol=1e-6, atol=0)


def test_blocks_that_nothing_reads_are_not_listed(sources) -> None:
    backbone = make(sources["gpt2"], out_indices=1)
    images = [torch.randn(2, 3, 16, 16)]
    assert [b.block for b in activation_ratio(backbone, images)] == [0, 1]
    assert len(activation_ratio(backbone, images, "reference")) == 2


def test_an_iterator_is_enough_where_one_pass_is(sources) -> None:
    backbone = make(sources["gpt2"])
    images = [torch.randn(2, 3, 16, 16)]
    assert activation_ratio(backbone, iter(images)) == activation_ratio(
        backbone, images
    )


def test_dropout_is_off_and_modes_are_put_back(sources) -> None:
    backbone = make(sources["gpt2"], drop_rate=0.5, trainable_layers="first:1")
    backbone.train()
    backbone.language.blocks[0].drop.eval()  # by hand, against the rest
    before = [module.training for module in backbone.modules()]
    images = [torch.randn(4, 3, 16, 16)]
    assert activation_ratio(backbone, images) == activation_ratio(backbone, images)
    assert [module.training for module in backbone.modules()] == before
    assert backbone.out_type == "last"


def hooks_of(backbone: LanguageBackbone) -> int:
    return sum(len(module._forward_hooks) for module in backbone.modules())


def test_nothing_is_left_behind_after_an_error(sources) -> None:
    backbone = make(sources["gpt2"]).train()

    def broken():
        yield torch.randn(2, 3, 16, 16)
        assert hooks_of(backbone) == 3
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError, match="the disk is gone"):
        activation_ratio(backbone, broken())
    assert hooks_of(backbone) == 0
    assert backbone.training
    assert backbone.out_type == "last"


# Bad input -------------------------------------------------------------------------


def test_bad_input_is_one_sentence(sources) -> None:
    backbone = make(sources["gpt2"])
    images = [torch.randn(2, 3, 16, 16)]
    with pytest.raises(ValueError, match="rule among zero, reference, got 'relu'"):
        activation_ratio(backbone, images, "relu")
    with pytest.raises(ValueError, match="twice, got an iterator that ends"):
        activation_ratio(backbone, iter(images), "reference")
    for empty in ([], [torch.randn(0, 3, 16, 16)]):
        with pytest.raises(ValueError, match="at least one image, got an empty stream"):
            activation_ratio(backbone, empty)
    for wrong in (torch.randn(2, 1, 16, 16), torch.randn(3, 16, 16)):
        with pytest.raises(ValueError, match=r"\(B, 3, height, width\), got \("):
            activation_ratio(backbone, [wrong])
    with torch.no_grad():
        backbone.language.blocks[1].up.weight[0, 0] = math.nan
    with pytest.raises(ValueError, match="got nan or infinity in block 1: look"):
        activation_ratio(backbone, images)
