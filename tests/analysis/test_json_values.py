"""Results as JSON: nothing lost, whatever they are made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_losses import mlp

from lbbt_mm.analysis import (
    Estimate,
    loss_landscape,
    measure_separability,
    synthetic_check,
    weight_statistics,
)
from lbbt_mm.analysis.json_values import to_plain


def through_json(value):
    return json.loads(json.dumps(to_plain(value), allow_nan=False))


def test_the_synthetic_check() -> None:
    found = synthetic_check(neurons=50, inputs=200, epochs=1, ks=(1, 4))
    plain = through_json(found)
    assert list(plain) == ["before", "after", "first_loss", "last_loss"]
    assert plain["last_loss"] == found.last_loss
    data = plain["after"]["data"]
    assert data["curve"] == found.after.data.curve.tolist()
    leading = found.after.data.leading
    assert data["leading"] == {"1": leading[1], "4": leading[4]}
    assert len(plain["before"]["eigenvalues"]) == 16


def test_surfaces_maps_and_statistics() -> None:
    surface = loss_landscape(mlp(), points=3)
    assert through_json(surface)["loss"] == surface.loss.tolist()
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 3, generator=generator)
    found = measure_separability(features, torch.arange(20) % 2)
    plain = through_json(found)
    assert plain["clusters"] == found.clusters.tolist()
    assert plain["points"][3] == found.points[3].tolist()
    report = weight_statistics([("a.h.0.c_fc.weight", features)])
    plain = through_json(report)
    assert plain["by_block"]["a.h.0"]["moments"] == report.total.moments.tolist()


def test_every_kind_of_part() -> None:
    value = {
        3: (1, 2.5, None, True, "x"),
        "estimate": Estimate(1.0, 0.5, 2, 0, 4),
        "numpy": [np.float32(0.5), np.int64(2), np.array([[1, 2]])],
        "torch": torch.tensor([1.5], requires_grad=True),
    }
    assert to_plain(value) == {
        "3": [1, 2.5, None, True, "x"],
        "estimate": dict(value=1.0, error=0.5, probes=2, iterations=0, samples=4),
        "numpy": [0.5, 2, [[1, 2]]],
        "torch": [1.5],
    }
    with pytest.raises(TypeError, match="a result of numbers, got object: name what"):
        to_plain({"a": [object()]})
