"""What a bridge does to a model, while it does it."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch import nn

from lbbt_mm.analysis.activation import RULES, activation_ratio
from lbbt_mm.analysis.during_training import AlignmentWatch, count_outliers
from lbbt_mm.hooks.fixed_images import take_images, undisturbed
from lbbt_mm.metrics.bridge_accuracy import most_probable
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.neighbours.mmengine import model_of
from lbbt_mm.registry import HOOKS

MEASURES = ("activation", "outliers", "alignment", "accuracy")
_PREFIX = "monitor"


@HOOKS.register_module()
class BridgeMonitorHook(Hook):
    """Record what a bridge changes, into the visualisation backends of the run.

    It records before the first iteration (step 0), every ``interval`` iterations, at
    the iterations ``at``, and after the last one; docs/monitor.md lists the names.
    Activations and accuracies are of a few fixed training images, prepared once as in
    training with random numbers of their own, so that all records of a run, also after
    a resume, and of both initialisations are of the same images. The forward pass is in
    eval mode and under the training's autocast. The weights are the model's, not EMA's.

    Training is not changed: all random numbers, modes and options are put back. With
    several processes the first one measures, and the others wait for it. What cannot
    be measured (weights that are not finite, say) is left out of the record, with a
    warning, and training goes on.

    Args:
        interval: Iterations between two records; None records only at ``at``, the
            beginning and the end.
        at: More iterations to record after.
        measure: Some of ``'activation'``, ``'outliers'``, ``'alignment'`` and
            ``'accuracy'``.
        images: Number of fixed images, spread evenly over the training dataset.
        rules: Of the activation ratio: ``'zero'``, ``'reference'`` or both; see
            :func:`lbbt_mm.analysis.activation_ratio`.
        threshold: Absolute threshold of an outlier.
        sigmas: Scale-free threshold k of an outlier, in standard deviations.
        seed: Of the random numbers that the images are prepared with.

    Raises:
        ValueError: An argument is none of these; at the start of training: the images
            have fewer patches than the alignment needs.
        TypeError: At the start of training: the model has no LanguageBackbone, or its
            weights are sharded.

    Example::

        custom_hooks = [dict(type="lbbt_mm.BridgeMonitorHook", interval=100)]
    """

    # After the step, and after ThroughputHook, which so does not count this.
    priority = "BELOW_NORMAL"

    def __init__(
        self,
        interval: int | None = 100,
        at: Sequence[int] = (),
        measure: Sequence[str] = MEASURES,
        images: int = 64,
        rules: Sequence[str] = ("zero",),
        threshold: float = 1.0,
        sigmas: float = 6.0,
        seed: int = 0,
    ) -> None:
        if interval is not None and interval < 1:
            raise ValueError(
                f"BridgeMonitorHook expects an interval of 1 iteration or more, got "
                f"{interval}; write None for records at the beginning and the end only."
            )
        if images < 1:
            raise ValueError(
                f"BridgeMonitorHook expects 1 image or more, got {images}."
            )
        _check_names("measure", measure, MEASURES)
        _check_names("rules", rules, RULES)
        self.interval = interval
        self.at = frozenset(at)
        self.measure = tuple(measure)
        self.images = images
        self.rules = tuple(rules)
        self.threshold = threshold
        self.sigmas = sigmas
        self.seed = seed

    def before_train(self, runner: Runner) -> None:
        """Prepare the images, and record the beginning; a resumed run has none."""
        model = model_of(runner)
        self._backbone = _language_backbone(runner, model, self.measure)
        self._recorded = runner.iter if runner.iter else -1
        self._records, self._seconds = 0, 0.0
        self._warned: set[str] = set()
        self._start = time.perf_counter()
        if not is_main_process():
            return
        with undisturbed(model):
            self._fixed = take_images(runner, model, self.images, self.seed)
        if "alignment" in self.measure:
            embedding = self._backbone.patch_embed.projection
            self._alignment = AlignmentWatch(self._fixed.inputs, embedding)
        if runner.iter == 0:
            self._record(runner, 0)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict | None = None,
    ) -> None:
        """Record, if it is time."""
        done = runner.iter + 1
        if done in self.at or (self.interval and done % self.interval == 0):
            self._record(runner, done)

    def after_train(self, runner: Runner) -> None:
        """Record the end, and log what recording has cost."""
        if runner.iter != self._recorded and runner.iter:
            self._record(runner, runner.iter)
        if self._records:
            share = self._seconds / (time.perf_counter() - self._start)
            runner.logger.info(
                f"BridgeMonitorHook: {self._records} record(s) took "
                f"{self._seconds:.1f} s, {share:.1%} of the time since training began."
            )

    def _record(self, runner: Runner, step: int) -> None:
        self._recorded = step
        if not is_main_process():
            return
        start = time.perf_counter()
        model, found = model_of(runner), dict[str, float]()
        context = _training_precision(runner, model)
        with undisturbed(model), torch.no_grad(), context:
            model.eval()
            for name in self.measure:
                try:
                    found |= getattr(self, f"_measure_{name}")(model)
                except ValueError as error:
                    if name not in self._warned:  # once, not in every record
                        self._warned.add(name)
                        runner.logger.warning(
                            f"BridgeMonitorHook: no {name} at iteration {step}: {error}"
                        )
        seconds = time.perf_counter() - start
        self._records, self._seconds = self._records + 1, self._seconds + seconds
        found["seconds"] = seconds
        scalars = {
            f"{_PREFIX}/{name}": value
            for name, value in found.items()
            if not math.isnan(value)
        }
        runner.visualizer.add_scalars(scalars, step=step)

    def _measure_activation(self, model: nn.Module) -> dict[str, float]:
        found: dict[str, float] = {}
        for rule in self.rules:
            name = "activation_ratio" + ("_reference" if rule == "reference" else "")
            for one in activation_ratio(self._backbone, self._fixed.inputs, rule):
                found[f"{name}/block_{one.block}"] = one.ratio
        return found

    def _measure_outliers(self, model: nn.Module) -> dict[str, float]:
        counts = count_outliers(self._backbone, self.threshold, self.sigmas)
        found: dict[str, float] = {}
        groups = {"total": counts.total}
        for path, one in counts.by_block.items():
            groups[f"block_{path.rpartition('.')[2]}"] = one
        for name, one in groups.items():
            found[f"outliers_above_{self.threshold:g}/{name}"] = one.above
            share = one.share_above_sigmas
            found[f"outliers_share_{self.sigmas:g}_sigma/{name}"] = share
        return found

    def _measure_alignment(self, model: nn.Module) -> dict[str, float]:
        numbers = self._alignment(self._backbone.patch_embed.projection)
        found = dict(
            off_diagonal=numbers.off_diagonal,
            off_diagonal_deviation=numbers.off_diagonal_deviation,
        )
        found.update({f"leading_{k}": share for k, share in numbers.leading.items()})
        return {f"alignment/{name}": value for name, value in found.items()}

    def _measure_accuracy(self, model: nn.Module) -> dict[str, float]:
        predicted = self._predict(model)
        found: dict[str, float] = {}
        for name, labels in self._fixed.labels.items():
            hits = [
                guess == label
                for guess, label in zip(predicted, labels, strict=False)
                if label is not None
            ]
            if hits:
                found[f"accuracy/{name}_label"] = 100.0 * sum(hits) / len(hits)
        return found

    def _predict(self, model: nn.Module) -> list[int | None]:
        """Most probable classes, None of NaN; empty if the model predicts none."""
        predict = getattr(getattr(model, "head", None), "predict", None)
        if predict is None or not self._fixed.labels["trained"]:
            return []
        classes: list[int | None] = []
        for inputs in self._fixed.inputs:
            # Without data samples: predictions are not written into ours.
            for sample in model(inputs, None, mode="predict"):
                score = sample.get("pred_score")
                if score is None:
                    return []
                classes.append(most_probable(score))
        return classes


def _check_names(argument: str, given: Sequence[str], known: Sequence[str]) -> None:
    unknown = [given] if isinstance(given, str) else set(given) - set(known)
    if unknown or not given:
        raise ValueError(
            f"BridgeMonitorHook expects {argument} to be a list of some of "
            f"{', '.join(known)}; got {given!r}."
        )


def _language_backbone(
    runner: Runner, model: nn.Module, measure: Sequence[str]
) -> LanguageBackbone:
    if not isinstance(runner, Runner):
        raise TypeError(
            f"BridgeMonitorHook expects mmengine's Runner, got "
            f"{type(runner).__name__}, which may hold only a shard of each weight: "
            f"measure its checkpoints instead, or take the hook out."
        )
    for module in model.modules():
        if isinstance(module, LanguageBackbone):
            break
    else:
        raise TypeError(
            f"BridgeMonitorHook expects a model with a lbbt_mm.LanguageBackbone, got "
            f"{type(model).__name__} without one: take the hook out of custom_hooks."
        )
    embedding = getattr(getattr(module, "patch_embed", None), "projection", None)
    if "alignment" in measure and not isinstance(embedding, nn.Conv2d):
        raise TypeError(
            f"BridgeMonitorHook expects a patch embedding in {type(module).__name__} "
            f"(patch_embed.projection, a Conv2d) to measure its alignment, got "
            f"{type(embedding).__name__}: leave 'alignment' out of measure."
        )
    return module


def _training_precision(runner: Runner, model: nn.Module) -> Any:
    wrapper = runner.optim_wrapper
    # A dict of wrappers, for several optimisers, has no context of its own.
    if not isinstance(wrapper, OptimWrapper):
        return nullcontext()
    return wrapper.optim_context(model)
