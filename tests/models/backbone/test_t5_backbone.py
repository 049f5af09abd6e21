"""LanguageBackbone on a T5 encoder: its bias, what trains, what is measured."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from torch import nn
from torch.testing import assert_close
from torch.utils.data import DataLoader

from lbbt_mm.analysis.activation import activation_ratio
from lbbt_mm.analysis.outliers import weight_statistics
from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.language import open_checkpoint
from lbbt_mm.language.residual import (
    residual_rms,
    scratch_word_embeddings,
    typical_word_embeddings,
)
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.transplant import TransplantError, make_plan

SMALL = dict(img_size=32, patch_size=8)  # 16 tokens
KINDS = ["relu", "gated-gelu"]
kinds = pytest.mark.parametrize("kind", KINDS)
CHRONOS = "amazon/chronos-t5-tiny"


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, tuple[hf.T5EncoderModel, str]]:
    """Write one tiny model of each kind; 48 channels in the heads, 32 in the stream."""
    built = {}
    for kind in KINDS:
        torch.manual_seed(0)
        config = hf.T5Config(
            vocab_size=96,
            d_model=32,
            d_kv=12,
            num_heads=4,
            d_ff=40,
            num_layers=3,
            feed_forward_proj=kind,
            relative_attention_num_buckets=8,
            relative_attention_max_distance=12,
            initializer_factor=0.4,
        )
        model = hf.T5EncoderModel(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        folder = tmp_path_factory.mktemp(kind)
        model.save_pretrained(folder)
        built[kind] = model, str(folder)
    return built


def make(source: str, pretrained: bool = False, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    backbone = LanguageBackbone(source, pretrained=pretrained, **{**SMALL, **options})
    backbone.init_weights()
    return backbone


@kinds
def test_patches_take_the_place_of_words(models, kind: str) -> None:
    reference, source = models[kind]
    options = dict(out_type="raw", out_indices=[0, 1, 2])
    backbone = make(source, pretrained=True, **options).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        tokens, _ = backbone.patch_embed(images)
        expected = reference(inputs_embeds=tokens, output_hidden_states=True)
        # The last is normed, here and there.
        for ours, theirs in zip(
            backbone(images), expected.hidden_states[1:], strict=True
        ):
            assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
        last = make(source, pretrained=True).eval()
        assert_close(last(images)[0], ours[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["sincos2d", "learned", "none"])
def test_other_positions_replace_the_relative_bias(models, position: str) -> None:
    reference, source = models["relu"]
    backbone = make(source, pretrained=True, position=position, out_type="raw").eval()
    assert backbone.language.positions is None
    images = torch.randn(2, 3, 32, 32)
    table = reference.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    stored = table.weight.detach().clone()
    with torch.no_grad():
        table.weight.zero_()
        tokens, _ = backbone.patch_embed(images)  # with the new positions, if any
        expected = reference(inputs_embeds=tokens).last_hidden_state
        table.weight.copy_(stored)
        assert_close(backbone(images)[0], expected, rtol=1e-4, atol=1e-5)


def trained(backbone: LanguageBackbone) -> set[str]:
    """Name the parts that get a gradient from a real backward pass."""
    (features,) = backbone(torch.randn(2, 3, 32, 32))
    (features * torch.randn_like(features)).sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    names = [n for n, p in backbone.named_parameters() if p.grad is not None]
    return {
        name.split(".blocks.")[1].split(".")[0] if ".blocks." in name else name
        for name in names
    }


EMBED = {"patch_embed.projection.weight", "patch_embed.projection.bias"}
BIAS = {"language.positions"}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("all", {"0", "1", "2", "language.final_norm.weight"} | EMBED | BIAS),
        # The bias is all blocks' and none's: it is frozen with the positions.
        ("first:1", {"0"} | EMBED),
        ("none+0", {"0"}),
        ("none+last:1", {"2"}),
        ("none+positions", BIAS),
        ("none+positions+last:1", {"2"} | BIAS),
    ],
)
@pytest.mark.parametrize("with_cp", [False, True])
def test_the_bias_trains_with_the_positions(models, spec, expected, with_cp) -> None:
    backbone = make(models["relu"][1], trainable_layers=spec, with_cp=with_cp)
    assert trained(backbone.train()) == expected


def test_recomputed_gradients_are_the_same(models) -> None:
    images = torch.randn(2, 3, 32, 32)
    grads = []
    for with_cp in (False, True):
        backbone = make(models["relu"][1], with_cp=with_cp, drop_rate=0.0).train()
        backbone(images)[0].square().sum().backward()
        grads.append({n: p.grad for n, p in backbone.named_parameters()})
    assert_close(grads[0], grads[1])


def test_a_frozen_backbone_drops_nothing(models) -> None:
    images = torch.randn(2, 3, 32, 32)
    frozen = make(models["relu"][1], trainable_layers="none").train()
    assert_close(frozen(images), frozen(images), rtol=0, atol=0)
    training = make(models["relu"][1], trainable_layers="none+last:1").train()
    assert not torch.equal(training(images)[0], training(images)[0])


def test_layer_depths_put_the_bias_first(models) -> None:
    backbone = make(models["relu"][1])
    assert backbone.get_layer_depth("language.positions") == (0, 5)
    assert backbone.get_layer_depth("language.blocks.1.up.weight") == (2, 5)


@pytest.mark.parametrize("pretrained", [True, False])
def test_tokens_as_large_as_the_stream(models, pretrained: bool) -> None:
    plain = make(models["relu"][1], pretrained)
    scaled = make(models["relu"][1], pretrained, token_scale="residual")
    if pretrained:
        words = typical_word_embeddings(open_checkpoint(models["relu"][1]))
    else:  # T5 draws them with its factor
        words = scratch_word_embeddings(scaled.language.config)
        assert words.std().item() == pytest.approx(0.4, rel=0.02)
    size = residual_rms(scaled.language, words)
    ratio = (
        scaled.patch_embed.projection.weight.std()
        / plain.patch_embed.projection.weight.std()
    ).item()
    assert ratio == pytest.approx(size / plain.patch_embed.unit_rms(), rel=1e-3)


def test_scratch_needs_no_file_and_stays_finite() -> None:
    backbone = make(CHRONOS, token_scale="residual").train()
    assert backbone.language.causal is False
    assert {m.p for m in backbone.modules() if isinstance(m, nn.Dropout)} == {0.1}
    features = backbone(torch.randn(2, 3, 32, 32))[0]
    assert features.shape == (2, 256) and torch.isfinite(features).all()


@kinds
def test_a_checkpoint_of_ours_loads_without_the_t5(models, kind, tmp_path) -> None:
    import shutil

    source = shutil.copytree(models[kind][1], tmp_path / "t5")
    backbone = make(str(source), pretrained=True).eval()
    file = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": {**backbone.state_dict()}}, file)
    (source / "model.safetensors").unlink()
    again = make(str(file)).eval()
    load_checkpoint(again, str(file), strict=True)
    images = torch.randn(2, 3, 32, 32)
    assert_close(again(images), backbone(images), rtol=0, atol=0)
    # And by itself, as a language model.
    third = make(str(file), pretrained=True)
    theirs = backbone.language.positions
    assert_close(third.language.positions, theirs, rtol=0, atol=0)


# What is measured ---------------------------------------------------------------------


@kinds
def test_activation_ratio_is_that_of_the_first_projection(models, kind: str) -> None:
    backbone = make(models[kind][1], pretrained=True).eval()
    images = torch.randn(5, 3, 32, 32)
    tokens, _ = backbone.patch_embed(images)
    found = activation_ratio(backbone, [images[:3], images[3:]])
    reference, _ = models[kind]
    hidden = []
    for block in reference.encoder.block:
        block.layer[1].DenseReluDense.act.register_forward_hook(
            lambda module, args, out: hidden.append(out.mean(dim=1))
        )
    with torch.no_grad():
        reference(inputs_embeds=tokens)
    for block in reference.encoder.block:
        block.layer[1].DenseReluDense.act._forward_hooks.clear()
    for ours, theirs in zip(found, hidden, strict=True):
        assert ours.ratio == pytest.approx((theirs > 0).double().mean().item())
        assert 0 < ours.ratio < 1 or kind == "relu"
        assert ours.neurons == 40


def test_outliers_by_block_and_kind(models) -> None:
    for kind, expected in (("relu", set()), ("gated-gelu", {"mlp gate"})):
        report = weight_statistics(make(models[kind][1], pretrained=True))
        assert list(report.by_block) == [f"language.blocks.{i}" for i in range(3)]
        common = {"embedding", "attention in", "attention out", "mlp up", "mlp down"}
        assert set(report.by_kind) == common | expected
        # Of the patches, and the bias of 8 buckets and 4 heads.
        assert report.by_kind["embedding"].count == 192 * 32 + 8 * 4


# Copying ------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", [(), ("activation", "norm_order", "norm_eps")])
@kinds
def test_t5_blocks_are_not_copied_into_other_layers(models, kind, accept) -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 40, norm_first=True, batch_first=True)
    model = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copies = [dict(module="layers")]
    with pytest.raises(TransplantError) as caught:
        make_plan(model, open_checkpoint(models[kind][1]), copies, accept)
    message = str(caught.value)
    for reason in ("relative positions", "without the scale", "RMSNorm"):
        assert reason in message
    assert ("gated" in message) == (kind == "gated-gelu")
    assert "lbbt_mm.LanguageBackbone" in message
    assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_the_hook_refuses_before_training(models, tmp_path) -> None:
    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList([nn.TransformerEncoderLayer(32, 4, 40)])

        def forward(self, inputs, data_samples=None, mode="tensor"):
            raise AssertionError("a batch came through")

    hook = LanguageInitHook(models["relu"][1], copies=[dict(module="layers")])
    runner = Runner(
        Model(),
        str(tmp_path),
        train_dataloader=DataLoader([0]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        custom_hooks=[hook],
        experiment_name="t5",
    )
    with pytest.raises(TransplantError, match="relative positions"):
        runner.train()
