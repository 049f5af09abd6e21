"""What a config and a checkpoint are, as something that looks at pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.registry import DATASETS, MODELS
from PIL import Image

from lbbt_mm.demo.picture import TestPipeline, innermost, test_dataset
from lbbt_mm.language.storage import load_pickle
from lbbt_mm.measure.measured_model import MeasuredModel
from lbbt_mm.models.checkpoint_config import type_name, use_checkpoint_only
from lbbt_mm.models.multimodal.answering import Answering, open_answering
from lbbt_mm.registry import find_type, names_of
from lbbt_mm.safety.dumped_config import at, describe_labels


class _Looking:
    """A model and what it needs to be given a picture.

    Args:
        cfg: Its config.
        checkpoint: Its weights, exactly.
        device: Where it runs.

    Attributes:
        about: One sentence on what it was trained on.
    """

    def __init__(self, cfg: Any, checkpoint: str, device: str) -> None:
        use_checkpoint_only(cfg, checkpoint)
        measured = MeasuredModel(cfg, checkpoint, device)  # sets the config's scope
        self._prepare = TestPipeline(cfg)
        self._model: Any = measured.model
        meta = at(load_pickle(Path(checkpoint)), "meta", "dataset_meta")
        meta = meta if isinstance(meta, Mapping) else {}
        self._meta = {**_stated(cfg), **meta}
        scope = cfg.get("default_scope")
        self._labels = describe_labels(cfg, lambda n: find_type(n, DATASETS, scope))
        if at(meta, "random_label", "ratio") == 1:  # whatever the config says
            self._labels = "random"
        self.about = self._about(self._try())

    def _about(self, names: Sequence[str]) -> str:
        if self._labels == "random":
            return (
                "Trained on random labels, which say whether it remembers an image of "
                "its training, and nothing of other pictures."
            )
        trained = f"Trained on {self._labels} labels. " if self._labels else ""
        first = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        return f"{trained}{len(names)} classes: {first}"

    def _try(self) -> Sequence[str]:
        """Fail now, and not at the first picture; returns the names of all classes."""
        try:
            said = self(Image.new("RGB", (64, 48), "grey"))[0]
        except Exception as error:
            told = (str(error).strip() or "no reason given").splitlines()[0]
            raise ValueError(
                f"This {type(self._model).__name__} does not predict a picture "
                f"({type(error).__name__}: {told[:300]})."
            ) from error
        return list(said) if isinstance(said, dict) else self._names()

    def __call__(self, image: Image.Image) -> Any:
        """Look at a picture."""
        raise NotImplementedError

    @torch.no_grad()
    def _predict(self, image: Image.Image) -> tuple[Any, Image.Image | None]:
        prepared = self._prepare(image)
        (sample,) = self._model.test_step(prepared.batch)
        return sample.cpu(), prepared.seen

    def _names(self, count: int | None = None) -> list[str]:
        """Names of classes, each only once; as many as there are by default."""
        names = self._meta.get("classes")
        if isinstance(names, str) or not isinstance(names, Sequence):
            names = ()
        if count is None:
            count = len(names)
        if self._labels == "random":
            return [f"random label {number}" for number in range(count)]
        if len(names) != count:  # those of other labels than the head's
            return [f"class {number}" for number in range(count)]
        often = Counter(map(str, names))
        return [
            f"{name} (class {number})" if often[str(name)] > 1 else str(name)
            for number, name in enumerate(names)
        ]


class Classifier(_Looking):
    """An image classifier of mmpretrain, of ours or of anybody.

    Args:
        cfg: Its config.
        checkpoint: Its weights, exactly.
        device: Where it runs.

    Example:
        >>> chances, seen = Classifier(cfg, "epoch_6.pth", "cpu")(picture)
    """

    def __call__(self, image: Image.Image) -> tuple[dict[str, float], Any]:
        """Look at a picture.

        Args:
            image: RGB.

        Returns:
            The score of each class by its name; and the pixels that the model is given.
        """
        sample, seen = self._predict(image)
        scores = sample.pred_score.double().tolist()
        return dict(zip(self._names(len(scores)), scores, strict=True)), seen


class Drawer(_Looking):
    """A detector of mmdet or a segmenter of mmseg, which draws what it finds.

    Args:
        cfg: Its config.
        checkpoint: Its weights, exactly.
        device: Where it runs.

    Attributes:
        has_scores: Whether what it finds has scores, as boxes have.

    Example:
        >>> drawn, found = Drawer(cfg, "epoch_6.pth", "cpu")(picture)
    """

    def __init__(self, cfg: Any, checkpoint: str, device: str) -> None:
        names = names_of(cfg.model, MODELS, cfg.get("default_scope"))
        self.has_scores = "BaseDetector" in names
        self._visualizer: Any
        if self.has_scores:
            from mmdet.visualization import DetLocalVisualizer

            self._visualizer = DetLocalVisualizer()
        else:
            from mmseg.visualization import SegLocalVisualizer

            self._visualizer = SegLocalVisualizer()
        super().__init__(cfg, checkpoint, device)

    def __call__(
        self, image: Image.Image, least: float = 0.3
    ) -> tuple[Image.Image, str]:
        """Look at a picture.

        Args:
            image: RGB.
            least: Boxes with a lower score are left out.

        Returns:
            The picture with boxes or masks, and in words what was found.
        """
        sample, _ = self._predict(image)
        self._visualizer.dataset_meta = self._meta
        options = dict(pred_score_thr=least) if self.has_scores else {}
        self._visualizer.add_datasample(
            "picture", np.array(image), sample, draw_gt=False, **options
        )
        drawn = Image.fromarray(self._visualizer.get_image())
        return drawn, self._words(sample, least)

    def _words(self, sample: Any, least: float) -> str:
        if self.has_scores:
            kept = sample.pred_instances.scores >= least
            labels = sample.pred_instances.labels[kept].tolist()
            form = "{count:.0f} {name}"
            found = Counter(labels)
        else:
            area = sample.pred_sem_seg.data.flatten()
            counts = torch.bincount(area) / len(area) * 100
            form = "{name} {count:.0f} %"
            found = Counter({k: c for k, c in enumerate(counts.tolist()) if c >= 0.5})
        names = self._names()
        names += [f"class {n}" for n in range(len(names), max(found, default=0) + 1)]
        said = (form.format(name=names[k], count=c) for k, c in found.most_common())
        if self.has_scores and not found:
            best = max(sample.pred_instances.scores.tolist(), default=0.0)
            return f"Nothing has a score of {least:g}; the best has {best:.2f}."
        return ", ".join(said)


def _stated(cfg: Any) -> dict[str, Any]:
    """What the data set of a config says of its classes, without its images."""
    dataset = innermost(test_dataset(cfg))
    kind = find_type(dataset, DATASETS, cfg.get("default_scope"))
    stated = {
        **(getattr(kind, "METAINFO", None) or {}),
        **(dataset.get("metainfo") or {}),
    }
    return {key: value for key, value in stated.items() if not isinstance(value, str)}


def open_model(
    cfg: Any,
    config: str,
    checkpoint: str,
    device: str,
    options: dict[str, Any] | None = None,
) -> Classifier | Drawer | Answering:
    """Build what a config describes, with the weights of a checkpoint.

    Args:
        cfg: The config, ``options`` in it; edited in place.
        config: Its file.
        checkpoint: A file that a run saved.
        device: Where the model runs.
        options: Settings over the config, by dotted key.

    Raises:
        CheckpointError: The checkpoint cannot be read, or is of another model.
        ValueError: The model is of no kind that a page shows, or predicts nothing, or
            its config has no pipeline for a picture.

    Example:
        >>> model = open_model(Config.fromfile(path), path, "epoch_6.pth", "cpu")
    """
    names = names_of(cfg.get("model") or {}, MODELS, cfg.get("default_scope"))
    if "LLaVA" in names:
        return open_answering(Path(checkpoint), Path(config), options)
    if "BaseClassifier" in names:
        return Classifier(cfg, checkpoint, device)
    if names & {"BaseDetector", "BaseSegmentor"}:
        return Drawer(cfg, checkpoint, device)
    raise ValueError(
        f"{config}: expected an lbbt_mm.LLaVA, a classifier of mmpretrain, a detector "
        f"of mmdet or a segmenter of mmseg, got "
        f"{type_name(cfg.get('model') or {}) or 'no model'}; no page shows that."
    )
