"""A bar when it is asked for, on stderr, and the same numbers with it."""

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
from lbbt_mm.analysis.progress import follow
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
def test_a_bar_and_the_same_numbers(description: str, capsys) -> None:
    quiet = MEASURES[description](progress=False)
    assert capsys.readouterr().err == ""
    shown = MEASURES[description](progress=True)
    assert f"{description}: " in capsys.readouterr().err
    # arrays and tensors, inside named tuples, to the bit
    assert repr(shown) == repr(quiet)


def test_a_bar_knows_how_many_there_are_and_goes_when_the_loop_ends(capsys) -> None:
    assert list(follow(range(7), "loop", True)) == list(range(7))
    assert list(follow(iter("ab"), "stream", True, total=2)) == ["a", "b"]
    err = capsys.readouterr().err
    assert "loop:   0%" in err and "/7 [" in err and "/2 [" in err
    assert err.endswith("\r")  # wiped, so that the next line begins where it was


def test_a_loop_that_is_left_early_closes_its_bar(capsys) -> None:
    with pytest.raises(ValueError, match="stop"):
        for number in follow(range(7), "loop", True):
            if number == 2:
                raise ValueError("stop")
    assert capsys.readouterr().err.endswith("\r")
