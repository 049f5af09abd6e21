"""Measurements say how far they are when they are asked to; numbers stay the same."""

from __future__ import annotations

import pytest
import torch
from small_losses import mlp
from torch import Tensor, nn

from lbbt_mm.analysis import (
    activation_ratio,
    extreme_eigenvalues,
    gradient_predictiveness,
    hessian_trace,
    loss_landscape,
    noise_sensitivity,
    patch_covariance,
    spectral_density,
    weight_statistics,
)
from lbbt_mm.models import LanguageBackbone


def images() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return list(torch.randn(3, 2, 3, 8, 8, generator=generator))


def of_a_loss(measure, **settings):
    return lambda progress: measure(mlp(), progress=progress, **settings)


def of_activations(progress: bool):
    torch.manual_seed(0)
    backbone = LanguageBackbone(
        "gpt2", pretrained=False, num_layers=1, img_size=8, patch_size=4
    )
    return activation_ratio(backbone, images(), "reference", progress)


MEASURES = {
    "landscape, plain": of_a_loss(loss_landscape, normalisation="plain", points=3),
    "Lanczos": of_a_loss(extreme_eigenvalues, k=2, iterations=8),
    "trace": of_a_loss(hessian_trace, probes=2),
    "density": of_a_loss(spectral_density, probes=2, iterations=4),
    "noise": of_a_loss(noise_sensitivity, draws=2),
    "gradients": of_a_loss(gradient_predictiveness),
    "activations, threshold": of_activations,
    "activations": of_activations,
    "covariance of patches": lambda progress: patch_covariance(
        images(), nn.Conv2d(3, 5, 4, 4), progress
    ),
    "weights": lambda progress: (
        weight_statistics(
            [("a.weight", torch.arange(6.0).view(2, 3))], progress=progress
        ).total.moments
    ),
}


@pytest.mark.parametrize("description", MEASURES)
def test_progress_and_the_same_numbers(description: str, capsys) -> None:
    quiet = MEASURES[description](progress=False)
    assert capsys.readouterr().err == ""
    shown = MEASURES[description](progress=True)
    assert f"{description}: " in capsys.readouterr().err
    # arrays and tensors, inside named tuples, to the bit
    assert repr(shown) == repr(quiet)
