"""Weights: exact on small arrays, merged without loss, every family's names known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.analysis import outliers
from lbbt_mm.analysis.outliers import weight_statistics
from lbbt_mm.analysis.weight_names import block_path, weight_kind
from lbbt_mm.language.presets import preset_config
from lbbt_mm.models import LanguageBackbone


def test_a_case_worked_by_hand() -> None:
    weights = torch.tensor([[-2.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 2.0]])
    edges = [-1.5, 0.0, 1.0, 2.0]
    one = weight_statistics([("a", weights)], edges, sigmas=1.5).total
    # Mean 0; squares sum to 10 and fourth powers to 34: 8 * 34 / 100 - 3 = -0.28.
    assert (one.count, one.mean, one.largest) == (8, 0.0, 2.0)
    assert one.std == pytest.approx(math.sqrt(10 / 8), rel=1e-12)
    assert one.excess_kurtosis == pytest.approx(-0.28, rel=1e-12)
    # A weight on an edge belongs to the bin that begins there.
    assert one.histogram.tolist() == [1, 1, 4, 1, 1]
    assert (one.above, one.share_above) == (2, 0.25)  # 1.0 itself is not above 1.0
    assert one.above_sigmas == 2  # 1.5 * 1.118 = 1.68
    assert one.share_above_sigmas == 0.25


def test_agrees_with_numpy_on_all_tensors_together(monkeypatch) -> None:
    monkeypatch.setattr(outliers, "_CHUNK", 1000)  # so that tensors come in parts
    rng = np.random.default_rng(0)
    arrays = {
        "h.0.mlp.c_fc.weight": rng.standard_t(3, (60, 50)) * 0.3 + 0.1,
        "h.0.attn.c_attn.weight": rng.normal(-0.5, 0.02, (30, 40)),
        "h.1.mlp.c_fc.weight": rng.uniform(-2, 1, (7, 11)),
        "wte.weight": rng.normal(0, 1, (100, 9)),
    }
    report = weight_statistics((n, torch.from_numpy(a)) for n, a in arrays.items())
    groups = {
        "all": (report.total, list(arrays)),
        "block 0": (report.by_block["h.0"], list(arrays)[:2]),
        "up": (report.by_kind["mlp up"], [n for n in arrays if "c_fc" in n]),
        "one": (report.by_tensor["wte.weight"], ["wte.weight"]),
    }
    assert list(report.by_block) == ["h.0", "h.1"]
    for found, names in groups.values():
        together = np.concatenate([arrays[name].ravel() for name in names])
        away = together - together.mean()
        kurtosis = (away**4).mean() / (away**2).mean() ** 2 - 3
        # float64 sums in another order
        assert found.mean == pytest.approx(together.mean(), rel=1e-10, abs=1e-13)
        assert found.std == pytest.approx(together.std(), rel=1e-10)
        assert found.excess_kurtosis == pytest.approx(kurtosis, rel=1e-9)
        skew = (away**3).sum()
        assert found.moments[1] == pytest.approx(skew, rel=1e-8)
        inside = np.histogram(together, found.edges)[0]
        assert found.histogram[1:-1].tolist() == inside.tolist()
        assert found.histogram.sum() == found.count == together.size
        assert found.above == (abs(together) > 1).sum()
        assert found.above_sigmas == sum(
            (abs(arrays[name]) > 6 * arrays[name].std()).sum() for name in names
        )
        for share in (0.0, 0.5, 0.9, 0.999, 1.0):
            exact = np.quantile(abs(together), share, method="inverted_cdf")
            # the grid's numbers are up to 2**-7 apart; the middle is off by half
            assert found.quantile(share) == pytest.approx(exact, rel=2**-8)


def test_counts_where_gaussian_weights_have_outliers() -> None:
    torch.manual_seed(0)
    weights = torch.randn(100, 100) * 0.02
    weights[3, 5], weights[7, 7] = 1.2, -0.5
    one = weight_statistics([("a", weights)], sigmas=6).total
    assert (one.above, one.above_sigmas) == (1, 2)
    assert one.excess_kurtosis > 100


def test_norms_and_biases_only_if_asked() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3))
    assert list(weight_statistics(model).by_tensor) == ["0.weight"]
    report = weight_statistics(model, matrices_only=False)
    assert report.total.count == 12 + 3 + 3 + 3
    ones = report.by_tensor["1.weight"]
    assert math.isnan(ones.excess_kurtosis)
    assert ones.above_sigmas == 0  # no scale to be above of
    assert report.by_tensor["1.bias"].quantile(0.9) == 0.0


def test_half_precision_is_measured_as_it_is() -> None:
    weights = (torch.randn(50, 20) * 0.1).bfloat16()
    half = weight_statistics([("a", weights)]).total
    full = weight_statistics([("a", weights.double())]).total
    assert_close(half.moments, full.moments)
    assert half.quantile(0.99) == full.quantile(0.99)


def test_blocks_and_kinds_of_our_backbone() -> None:
    backbone = LanguageBackbone("gpt2", pretrained=False, num_layers=2, img_size=32)
    report = weight_statistics(backbone)
    assert list(report.by_block) == ["language.blocks.0", "language.blocks.1"]
    kinds = ["embedding", "attention in", "attention out", "mlp up", "mlp down"]
    assert list(report.by_kind) == kinds
    config = preset_config("gpt2")
    assert config is not None
    assert report.by_kind["mlp up"].count == 2 * config.width * config.ffn_width
    # GPT-2's initialisation is normal with 0.02: no tails. The error of the kurtosis
    # of n normal numbers is sqrt(24 / n), 0.0032 here.
    assert report.by_kind["mlp up"].std == pytest.approx(0.02, rel=1e-3)
    assert report.by_kind["mlp up"].excess_kurtosis == pytest.approx(0, abs=0.015)
    assert report.by_block["language.blocks.0"].above == 0


NAMES = [
    ("backbone.language.blocks.11.qkv.weight", "blocks.11", "attention in"),
    ("language.blocks.0.out.weight", "blocks.0", "attention out"),
    ("language.blocks.0.gate.weight", "blocks.0", "mlp gate"),
    ("qkv.weight", None, "attention in"),
    ("backbone.patch_embed.projection.weight", None, "embedding"),
    ("backbone.language.positions", None, "embedding"),
    ("h.3.attn.c_proj.weight", "h.3", "attention out"),
    ("transformer.h.3.mlp.c_proj.weight", "h.3", "mlp down"),
    ("encoder.layer.2.attention.self.value.weight", "layer.2", "attention in"),
    ("encoder.layer.2.attention.output.dense.weight", "layer.2", "attention out"),
    ("encoder.layer.2.intermediate.dense.weight", "layer.2", "mlp up"),
    ("encoder.layer.2.output.dense.weight", "layer.2", "mlp down"),
    ("layers.1.self_attn.o_proj.weight", "layers.1", "attention out"),
    ("embed_tokens.weight", None, "embedding"),
    ("encoder.block.0.layer.1.DenseReluDense.wi_1.weight", "block.0", "mlp up"),
    ("encoder.block.0.layer.0.SelfAttention.k.weight", "block.0", "attention in"),
    ("backbone.layers.4.ffn.layers.0.0.weight", "layers.4", "mlp up"),
    ("backbone.layers.4.ffn.layers.1.weight", "layers.4", "mlp down"),
    ("blocks.5.attn.proj.weight", "blocks.5", "attention out"),
    ("decoder.layers.5.cross_attn.attn.in_proj_weight", "layers.5", "attention in"),
    ("head.fc.weight", None, "head"),
    ("layer1.0.conv1.weight", None, "other"),
    # Of detectors and segmenters.
    ("bbox_head.reg_ffn.layers.0.0.weight", None, "head"),
    ("bbox_head.reg_ffn.layers.1.weight", None, "head"),
    ("bbox_head.fc_cls.weight", None, "head"),
    ("query_embedding.weight", None, "embedding"),
    ("encoder.layers.2.ffn.layers.0.0.weight", "encoder.layers.2", "mlp up"),
    ("encoder.layers.2.ffn.layers.1.weight", "encoder.layers.2", "mlp down"),
    ("decode_head.cls_emb", None, "embedding"),
    ("decode_head.classes_proj.weight", None, "head"),
    (
        "decode_head.layers.1.attn.attn.out_proj.weight",
        "decode_head.layers.1",
        "attention out",
    ),
]


def test_names() -> None:
    for name, block, kind in NAMES:
        assert weight_kind(name) == kind, name
        path = block_path(name)
        assert path is None if block is None else path and path.endswith(block), name


# Bad input -------------------------------------------------------------------------


def test_nan_is_named() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        model[1].weight[0, 2] = math.nan
    with pytest.raises(ValueError, match="got nan or infinity in 1.weight: the train"):
        weight_statistics(model)


def test_no_weights() -> None:
    with pytest.raises(ValueError, match="Expected a model with weights, got none"):
        weight_statistics(nn.LayerNorm(4))


@pytest.mark.parametrize("edges", [[1.0], [1.0, 0.0], [0.0, 0.0, 1.0]])
def test_edges_that_do_not_rise(edges: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more rising edges, got"):
        weight_statistics(nn.Linear(2, 2), edges)


def test_percent_for_a_share() -> None:
    with pytest.raises(ValueError, match="must be from 0 to 1, got 99.9"):
        weight_statistics(nn.Linear(2, 2)).total.quantile(99.9)


def test_statistics_that_do_not_fit_together() -> None:
    one = weight_statistics(nn.Linear(2, 2)).total
    other = weight_statistics(nn.Linear(2, 2), threshold=2.0).total
    with pytest.raises(ValueError, match="same edges and thresholds, got 201 and 201"):
        one + other
