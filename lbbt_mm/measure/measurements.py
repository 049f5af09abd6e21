"""The measurements of tools/analyze.py: a model and its images in, a plain result out.

docs/analysis.md lists what is in each result, and which figure or table it is for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lbbt_mm.analysis.activation import RULES, activation_ratio
from lbbt_mm.analysis.alignment import (
    measure_alignment,
    patch_covariance,
    weight_covariance,
)
from lbbt_mm.analysis.curvature import (
    extreme_eigenvalues,
    hessian_trace,
    spectral_density,
)
from lbbt_mm.analysis.json_values import to_plain
from lbbt_mm.analysis.landscape import NORMALISATIONS, RELEASED, loss_landscape
from lbbt_mm.analysis.outliers import (
    WeightReport,
    WeightStatistics,
    weight_statistics,
)
from lbbt_mm.analysis.scalar_loss import ScalarLoss
from lbbt_mm.analysis.sensitivity import (
    gradient_predictiveness,
    noise_sensitivity,
    parameter_sensitivity,
)
from lbbt_mm.analysis.separability import measure_separability
from lbbt_mm.analysis.spectrum import (
    density_curve,
    eigenvalue_numbers,
    spectral_gap,
)
from lbbt_mm.analysis.synthetic_alignment import synthetic_check
from lbbt_mm.analysis.word_subspace import energy_within, word_directions
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.measure.perplexity import checksum, perplexity_of
from lbbt_mm.metrics.retrieval import retrieval_scores
from lbbt_mm.probe.grid import probe_grid

Result = dict[str, Any]
Found = tuple[Result, Result]
"""A result, and what to call the images that it is of (empty without images)."""
_SPELT = {"pass": "Pass", "recall": "Recall", "ndcg": "NDCG"}
_GRID_POINTS = 101  # of the density's curve
_ROWS = 4096  # words that are looked up together


@dataclass(frozen=True)
class Settings:
    """How much is measured; the defaults take minutes on one core.

    Attributes:
        images: Of activation, alignment, separability and retrieval.
        probe_images: Of the probe's grid, to train on and to test on.
        loss_images: Of landscape and curvature.
        points: Of the landscape, along each axis.
        radius: Of the landscape, in lengths of a direction.
        eigenvalues: At each end of the Hessian's spectrum.
        iterations: Of Lanczos for them.
        probes: Of the Hessian's trace and noise sensitivity.
        density_probes: Of the spectral density.
        density_iterations: For each of them.
        seed: Of everything random in a measurement.
        window: Of perplexity: words that the language model sees at once.
        text: Of perplexity: a file; empty for the shipped one.
    """

    images: int = 1000
    probe_images: int = 10000
    loss_images: int = 64
    points: int = 9
    radius: float = 1.0
    eigenvalues: int = 10
    iterations: int = 40
    probes: int = 8
    density_probes: int = 2
    density_iterations: int = 16
    seed: int = 0
    window: int = 1024
    text: str = ""

    def of(self, name: str) -> dict[str, int | float | str]:
        """Pick those that a measurement depends on."""
        chosen = ("seed", *MEASUREMENTS[name].settings)
        found = {key: getattr(self, key) for key in chosen}
        if "text" in found:
            found["text"] = checksum(self.text)
        return found


def outliers(
    measured: MeasuredModel, settings: Settings, matrices_only: bool = True
) -> Found:
    """Count outlying weights, describe their distribution (figures 2, 10, 11, 14)."""
    report = weight_statistics(
        measured.model, matrices_only=matrices_only, progress=measured.progress
    )
    return outlier_result(report), {}


def outlier_result(report: WeightReport) -> Result:
    """Write statistics of a model's weights, or a language model's, as a result."""
    total = report.total
    return dict(
        threshold=total.threshold,
        sigmas=total.sigmas,
        total=_statistics(total),
        by_block={name: _statistics(one) for name, one in report.by_block.items()},
        by_kind={name: _statistics(one) for name, one in report.by_kind.items()},
        histogram=to_plain(dict(edges=total.edges, counts=total.histogram)),
    )


_STATISTICS = (
    "count",
    "mean",
    "std",
    "excess_kurtosis",
    "largest",
    "above",
    "share_above",
    "above_sigmas",
    "share_above_sigmas",
)


def _statistics(one: WeightStatistics) -> Result:
    numbers = {name: to_plain(getattr(one, name)) for name in _STATISTICS}
    return numbers | {"quantile_0.999": float(one.quantile(0.999))}


def activation(measured: MeasuredModel, settings: Settings) -> Found:
    """Measure the activation ratio of each block by both rules (figure 7)."""
    images, data = measured.images("test", settings.images)
    return {
        rule: to_plain(
            activation_ratio(measured.backbone, images, rule, measured.progress)
        )
        for rule in RULES
    }, data


def alignment(measured: MeasuredModel, settings: Settings) -> Found:
    """Compare the patch embedding with the training images (theorem 4.1)."""
    embedding = measured.backbone.patch_embed.projection
    images, data = measured.images("train", settings.images)
    covariance = patch_covariance(images, embedding, measured.progress)
    ks = [k for k in (1, 4, 16) if k <= len(covariance.matrix)]

    def measured_of(kernel: Tensor) -> Result:
        found = weight_covariance(kernel)
        return to_plain(measure_alignment(covariance, found, ks, settings.seed))

    now, initial = map(measured_of, (embedding.weight, measured.initial_kernel))
    eigenvalues = now.pop("eigenvalues")
    initial.pop("eigenvalues")
    return dict(now=now, initial=initial, eigenvalues=eigenvalues), data


def synthetic_alignment(measured: MeasuredModel, settings: Settings) -> Found:
    """See theorem 4.1 hold on Gaussian inputs; the same for every model."""
    return to_plain(synthetic_check(seed=settings.seed)), {}


def landscape(measured: MeasuredModel, settings: Settings) -> Found:
    """Compute the loss around the weights on two planes (figure 4)."""
    loss, data = measured.loss(settings.loss_images)
    return _surfaces(measured, settings, loss, NORMALISATIONS, settings.points), data


def landscape_as_released(measured: MeasuredModel, settings: Settings) -> Found:
    """See it as in the authors' code: length 1, 20 x 20, cross-entropy of the test."""
    loss, data = measured.test_loss(settings.loss_images)
    return _surfaces(measured, settings, loss, [RELEASED], 20), data


def _surfaces(
    measured: MeasuredModel,
    settings: Settings,
    loss: ScalarLoss,
    normalisations: Sequence[str],
    points: int,
) -> Result:
    result: Result = {}
    for normalisation in normalisations:
        found = loss_landscape(
            loss,
            normalisation,
            settings.radius,
            points,
            settings.seed,
            measured.progress,
        )
        result[normalisation] = dict(loss=to_plain(found.loss))
        result |= dict(steps=to_plain(found.steps), centre=found.centre)
    return result


def curvature(measured: MeasuredModel, settings: Settings) -> Found:
    """Measure the Hessian and the loss's sensitivities (table 15)."""
    loss, data = measured.loss(settings.loss_images)
    seed, progress = settings.seed, measured.progress
    ends = extreme_eigenvalues(
        loss, settings.eigenvalues, settings.iterations, seed, progress
    )
    result: Result = {
        f"eigenvalue_{name}" if name in ("decay_rate", "kurtosis") else name: to_plain(
            value
        )
        for name, value in eigenvalue_numbers(ends, settings.eigenvalues).items()
    }
    density = spectral_density(
        loss, settings.density_probes, settings.density_iterations, seed, progress
    )
    noise = noise_sensitivity(loss, draws=settings.probes, seed=seed, progress=progress)
    gradients = gradient_predictiveness(loss, progress=progress)
    tensors = parameter_sensitivity(loss)
    low, high = ends.trailing[0].value, ends.leading[0].value
    width = (high - low) / (_GRID_POINTS - 1)
    grid = np.linspace(low - 3 * width, high + 3 * width, _GRID_POINTS)
    return result | to_plain(
        dict(
            hessian_trace=hessian_trace(loss, settings.probes, seed, progress),
            spectral_gap=spectral_gap(ends),
            noise_sensitivity_auc=noise[0],
            gradient_predictiveness=gradients[0],
            max_parameter_sensitivity=tensors[0],
            most_sensitive=tensors[1],
            leading=ends.leading,
            trailing=ends.trailing,
            density=density_curve(density, grid, 2 * width),
        )
    ), data


def separability(
    measured: MeasuredModel,
    settings: Settings,
    split: str = "test",
    coloured_by: str = "labels",
) -> Found:
    """Measure how well the features tell the true classes apart (figure 5)."""
    found, data = measured.features(split, settings.images)
    result = measure_separability(found.features, found.labels, seed=settings.seed)
    plain = to_plain(result)
    # Two digits of a map are more than a picture shows.
    plain["coloured_by"] = coloured_by
    plain["points"] = np.round(np.array(plain["points"], float), 2).tolist()
    return plain, data


def retrieval(measured: MeasuredModel, settings: Settings) -> Found:
    """Let each image look for the others of its class (table 11)."""
    found, data = measured.features("test", settings.images)
    scores = retrieval_scores(found.features, found.labels)
    result: Result = {}
    for name, value in scores.items():
        kind, at, k = name.partition("@")
        result[_SPELT.get(kind, kind) + at + k] = value
    return result, data


def grid_of_probes(measured: MeasuredModel, settings: Settings) -> Found:
    """Probe at every learning rate and weight decay of a grid (table 3)."""
    train, _ = measured.features("train", settings.probe_images)
    test, data = measured.features("test", settings.probe_images)
    classes = 1 + int(max(train.labels.max(), test.labels.max()))
    found = probe_grid(
        train.features,
        train.labels,
        test.features,
        test.labels,
        classes,
        seed=settings.seed,
        device=measured.device,
    )
    return to_plain(found) | dict(train_images=len(train.labels)), data


def word_subspace(measured: MeasuredModel, settings: Settings) -> Found:
    """See in which directions of the words visual tokens lie, as LangBridge asks."""
    model = measured.llava
    embedding = model.language_model.get_input_embeddings()
    ids = torch.arange(len(embedding.weight), device=embedding.weight.device)
    with torch.no_grad():  # the module, not its table: LoRA and scales are around it
        directions = word_directions(embedding(part) for part in ids.split(_ROWS))
        rows = embedding(ids[:: max(1, len(ids) // _ROWS)])
    tokens, data = measured.visual_tokens(settings.images)
    found = dict(
        visual=energy_within(tokens, directions),
        words=energy_within([rows], directions),
    )
    width = len(directions)
    ks = sorted({2**i for i in range(width.bit_length())} | {width})
    result = dict(
        projector=type(model.projector).__name__,
        tokens=found["visual"].vectors,
        ks=ks,
        random=[k / width for k in ks],
    )
    for name, energy in found.items():
        result[name] = [float(energy.curve[k - 1]) for k in ks]
        result[f"{name}_half"] = energy.directions_for(0.5)
    return to_plain(result), data


def perplexity(measured: MeasuredModel, settings: Settings) -> Found:
    """See what training did to the language, the blocks put back into their model."""
    return perplexity_of(measured, settings.text, settings.window), {}


class Measurement(NamedTuple):
    """One way to look at a model.

    Attributes:
        measure: The model and how much is measured in, result and images out.
        settings: The numbers that it depends on, besides the seed.
        needs: ``'blocks'`` of a language backbone, ``'labels'``: one for each image, a
            classifier's ``'loss'``, the ``'words'`` of a LLaVA, or any model.
    """

    measure: Callable[[MeasuredModel, Settings], Found]
    settings: tuple[str, ...] = ()
    needs: Literal["", "blocks", "labels", "loss", "words"] = ""


_OF_LOSS = ("loss_images", "points", "radius")
_OF_HESSIAN = (
    *("loss_images", "eigenvalues", "iterations", "probes"),
    *("density_probes", "density_iterations"),
)
MEASUREMENTS = {
    "outliers": Measurement(outliers),
    "activation": Measurement(activation, ("images",), "blocks"),
    "alignment": Measurement(alignment, ("images",), "blocks"),
    "synthetic_alignment": Measurement(synthetic_alignment),
    "separability": Measurement(separability, ("images",), "labels"),
    "retrieval": Measurement(retrieval, ("images",), "labels"),
    "probe_grid": Measurement(grid_of_probes, ("probe_images",), "labels"),
    "landscape": Measurement(landscape, _OF_LOSS, "loss"),
    "curvature": Measurement(curvature, _OF_HESSIAN, "loss"),
    "perplexity": Measurement(perplexity, ("window", "text"), "blocks"),
    "outliers_as_released": Measurement(partial(outliers, matrices_only=False)),
    "separability_as_released": Measurement(
        partial(separability, split="train", coloured_by="clusters"),
        ("images",),
        "labels",
    ),
    "landscape_as_released": Measurement(
        landscape_as_released, ("loss_images", "radius"), "loss"
    ),
    "word_subspace": Measurement(word_subspace, ("images",), "words"),
}
"""Those ``_as_released`` are as in the authors' code, where ours differ."""


def refuse_unfit(name: str, measured: MeasuredModel) -> None:
    """Refuse what cannot be measured on a model, before an image is looked at.

    Args:
        name: Of the measurement.
        measured: Any model.

    Raises:
        ValueError: It cannot be; says why.
    """
    needs = MEASUREMENTS[name].needs
    if needs == "blocks":
        _ = measured.backbone
    elif needs == "words":
        _ = measured.llava
    elif needs and measured.is_dense:
        wanted = "one true label for each image"
        if needs == "loss":
            # mmdet's and mmseg's test pipelines resize before they read annotations:
            # the loss would be a number, and a wrong one.
            wanted = (
                "a classifier's loss (a test pipeline may not scale boxes or masks)"
            )
        raise ValueError(
            f"{name} needs {wanted}, and {type(measured.model).__name__} is a detector "
            f"or segmenter: --only outliers measures any model."
        )
