"""The neck: statistics of everything seen, in training and in testing."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import MODELS
from torch.testing import assert_close

from lbbt_mm.models import StandardizeNeck


def features(images: int = 50, channels: int = 5):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(images, channels, generator=generator)
    x[:, 1] = x[:, 1] * 1e3 + 5e4  # as in a language model
    x[:, 2] = 1e4 + 1e-3 * x[:, 2]  # constant up to rounding
    return x


def standardized(x):
    mean, std = x.mean(0), x.std(0, correction=0)
    std[2] = 1
    return (x - mean) / std


def test_statistics_are_those_of_all_images_seen():
    x = features()
    neck = MODELS.build(dict(type="lbbt_mm.StandardizeNeck", input_features=5)).train()
    neck((x[:20],))
    (out,) = neck((x[20:49],))  # uneven batches
    assert_close(out, standardized(x[:49])[20:], rtol=1e-3, atol=1e-3)
    neck((x[49:],))  # a single image, which a batch norm refuses
    assert neck.images == 50
    assert_close(neck.mean, x.mean(0))
    neck.eval()
    (out,) = neck((x,))
    assert_close(out, standardized(x), rtol=1e-3, atol=1e-3)
    # Another epoch over the same images changes nothing, nor does testing.
    before = {name: value.clone() for name, value in neck.state_dict().items()}
    neck((1e3 * x,))
    assert_close(dict(neck.state_dict()), before, rtol=0, atol=0)
    neck.train()((x,))
    assert_close(neck.var, before["var"], rtol=1e-4, atol=1e-6)


def test_nothing_trains_and_everything_is_saved():
    neck = StandardizeNeck(5)
    assert not list(neck.parameters())
    neck.train()((features(),))
    again = StandardizeNeck(5)
    again.load_state_dict(neck.state_dict())
    x = features(7)
    assert_close(again.eval()((x,)), neck.eval()((x,)), rtol=0, atol=0)


def test_before_training_it_does_nothing():
    x = features()
    (out,) = StandardizeNeck(5).eval()((x,))
    assert_close(out, x)


def test_the_last_stage_counts_in_float32():
    x = features()
    neck = StandardizeNeck(5).train()
    (out,) = neck((torch.ones(50, 2, 4, 4), x.bfloat16()))
    assert out.dtype == torch.float32
    assert_close(neck.mean, x.bfloat16().float().mean(0))


def test_processes_share_their_statistics(monkeypatch):
    """Two processes, played one after the other: what either adds reaches both."""
    x = features()
    halves = x[:20], x[20:]
    mean = x.sum(0) / 50
    totals = [torch.tensor(50.0), x.sum(0), ((x - mean) ** 2).sum(0)]
    for half in halves:
        expected = iter(totals)
        monkeypatch.setattr(
            "lbbt_mm.models.backbone.standardize_neck.all_reduce",
            lambda tensor, expected=expected: tensor.copy_(next(expected)),
        )
        neck = StandardizeNeck(5).train()
        neck((half,))
        assert_close(neck.mean, mean)
        assert_close(neck.var[:2], x.var(0, correction=0)[:2], rtol=1e-4, atol=1e-4)
        assert neck.images == 50


@pytest.mark.parametrize("shape", [(2, 4), (2, 5, 3, 3), (2, 7, 5)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"expects vectors \(B, 5\), got .* out_type"):
        StandardizeNeck(5)((torch.zeros(shape),))
