"""Gradients and Hessian products: exact, over batches, through our backbone."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_losses import Point, mlp, quadratic
from torch import nn
from torch.testing import assert_close

from lbbt_mm.analysis.scalar_loss import ScalarLoss
from lbbt_mm.models import LanguageBackbone


@pytest.mark.parametrize("batches", [1, 3])
def test_products_are_those_of_the_exact_hessian(batches: int) -> None:
    loss = mlp(batches)
    assert (loss.size, loss.samples) == (83, 8 * batches)
    for _ in range(3):
        vector = torch.randn(83).double()
        # both are exact derivatives, in float64
        assert_close(loss.hessian_product(vector), loss.exact @ vector)


def test_the_gradient_is_that_of_the_mean_of_batches() -> None:
    loss = mlp(3)
    step = 1e-6 * torch.randn(83).double()
    with loss.moved(step):
        ahead = loss.value()
    with loss.moved(-step):
        behind = loss.value()
    # a central difference: its error is of third order in the step
    assert (ahead - behind) / 2 == pytest.approx(float(loss.gradient() @ step), 1e-6)


def test_frozen_parameters_take_no_part() -> None:
    model = Point(x=[1.0, 2.0], y=[3.0])
    model.y.requires_grad_(False)
    loss = ScalarLoss(model, lambda: (model.x**2).sum() * model.y.sum(), 1)
    assert (loss.names, loss.size) == (["x"], 2)
    assert_close(loss.gradient(), torch.tensor([6.0, 12.0]).double())
    product = loss.hessian_product(torch.tensor([1.0, -1.0]).double())
    assert_close(product, torch.tensor([6.0, -6.0]).double())


def test_parameters_that_the_loss_does_not_see_have_zeros() -> None:
    model = Point(x=[1.0], unused=[5.0, 6.0])
    loss = ScalarLoss(model, lambda: (model.x**3).sum(), 1)
    assert_close(loss.gradient(), torch.tensor([3.0, 0.0, 0.0]).double())
    product = loss.hessian_product(torch.ones(3).double())
    assert_close(product, torch.tensor([6.0, 0.0, 0.0]).double())


def test_a_linear_loss_has_no_curvature() -> None:
    model = Point(x=[1.0, 2.0])
    loss = ScalarLoss(model, lambda: model.x.sum(), 1)
    assert loss.hessian_product(torch.ones(2)).tolist() == [0.0, 0.0]


def test_a_move_is_undone_to_the_bit_even_after_an_error() -> None:
    loss = mlp()
    before = loss.flat()
    with pytest.raises(RuntimeError, match="stop"):
        with loss.moved(torch.randn(83).double()):
            assert not torch.equal(loss.flat(), before)
            raise RuntimeError("stop")
    assert torch.equal(loss.flat(), before)
    assert all(parameter.grad is None for parameter in loss.parameters)


def test_our_backbone_has_a_hessian() -> None:
    # torch's fused attention kernels have no second derivative.
    backbone = LanguageBackbone(
        "gpt2", pretrained=False, num_layers=1, img_size=8, patch_size=4
    ).eval()
    images, head = torch.randn(4, 3, 8, 8), torch.randn(768, 5)
    labels = torch.arange(4)

    def cross_entropy() -> torch.Tensor:
        return F.cross_entropy(backbone(images)[0] @ head, labels)

    loss = ScalarLoss(backbone, cross_entropy, 4)
    kernels = torch.backends.cuda.flash_sdp_enabled()
    vector = torch.randn(loss.size)
    with loss.moved(1e-4 * vector):
        ahead = loss.gradient()
    with loss.moved(-1e-4 * vector):
        behind = loss.gradient()
    product = loss.hessian_product(vector)
    # a difference of float32 gradients
    error = (product - (ahead - behind) / 2e-4).norm() / product.norm()
    assert error < 0.01
    assert torch.backends.cuda.flash_sdp_enabled() == kernels


# Bad input -------------------------------------------------------------------------


def test_nothing_to_differentiate() -> None:
    frozen = Point(x=[1.0]).requires_grad_(False)
    with pytest.raises(ValueError, match="parameters and a loss, got 0 and 1: call"):
        ScalarLoss(frozen, lambda: frozen.x.sum(), 1)
    with pytest.raises(ValueError, match="got 1 and 0: call"):
        ScalarLoss(Point(x=[1.0]), [], 1)
    with pytest.raises(ValueError, match="depends on the trainable parameters, got a"):
        ScalarLoss(Point(x=[1.0]), lambda: torch.ones(()), 1)


def test_a_loss_that_is_random_or_no_number() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    x = torch.randn(3, 4)
    with pytest.raises(ValueError, match=r"same loss each time, got .*model.eval\(\)"):
        ScalarLoss(model, lambda: model(x).square().mean(), 3)
    model.eval()
    with pytest.raises(ValueError, match="one finite number, got nan: average"):
        ScalarLoss(model, lambda: model(x).square().mean() * math.nan, 3)
    with pytest.raises(ValueError, match=r"one finite number, got \[.*: average"):
        ScalarLoss(model, lambda: F.relu(model(x)).sum(1), 3)


def test_a_vector_of_another_length() -> None:
    with pytest.raises(ValueError, match=r"a vector \(3,\).*got \(2,\): see"):
        quadratic([1.0, 2.0, 3.0]).hessian_product(torch.ones(2))


def test_a_loss_without_a_derivative() -> None:
    model = Point(x=[1.0])
    loss = ScalarLoss(model, lambda: 1 + model.x.sum().sqrt(), 1)
    with torch.no_grad():
        model.x.zero_()
    with pytest.raises(ValueError, match="a finite gradient, got nan or infinity: the"):
        loss.gradient()
    with pytest.raises(ValueError, match="a finite product with the Hessian, got nan"):
        loss.hessian_product(torch.ones(1))
