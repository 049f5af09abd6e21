"""One model and its images, as every measurement of tools/analyze.py takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, partial
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dataset import default_collate, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lbbt_mm.analysis.scalar_loss import ScalarLoss
from lbbt_mm.datasets.arguments import with_pipeline
from lbbt_mm.datasets.checks.guard import build_guarded
from lbbt_mm.models import LanguageBackbone, LLaVA
from lbbt_mm.models.checkpoint_config import type_name
from lbbt_mm.models.initial_model import (
    build_initial_model,
    build_model,
    seed_of,
)
from lbbt_mm.models.pretrained import load_part
from lbbt_mm.probe.feature_key import UnknownContentError, images_sha256
from lbbt_mm.probe.features import Features, pool_features, true_labels
from lbbt_mm.probe.setup import clean_pipeline, find_pipeline, true_label_dataset
from lbbt_mm.progress import follow

_FINGERPRINTED = 16  # images that tell one dataset from another
# Of mmdet and mmseg, by name: neither need be installed.
_DENSE = {"BaseDetector", "BaseSegmentor"}


class MeasuredModel:
    """A model with the weights to be measured, and images for it.

    Everything is built when it is first asked for: counting outliers needs no image.

    Args:
        cfg: A config with ``model``, and ``train_dataloader`` and ``test_dataloader``
            for what needs images; not changed.
        checkpoint: Weights of the whole model, exactly; without it, the model as it is
            built and initialised with the config's seed, with what its
            LanguageInitHooks copy: what training starts from.
        device: Where the model runs, in float32.
        seed: Of the images that are chosen.
        progress: Show progress bars.

    Example:
        >>> measured = MeasuredModel(Config.fromfile("config.py"), "epoch_6.pth")
        >>> result, data = outliers(measured, Settings())
    """

    def __init__(
        self,
        cfg: Any,
        checkpoint: str | None = None,
        device: str | torch.device = "cpu",
        seed: int = 0,
        progress: bool = False,
    ) -> None:
        init_default_scope(cfg.get("default_scope") or "mmpretrain")
        self.cfg, self.checkpoint = cfg, checkpoint
        self.device, self.seed, self.progress = device, seed, progress
        self._features: dict[tuple[str, int], tuple[Features, dict[str, Any]]] = {}
        self._datasets: dict[str, Any] = {}
        self._contents: dict[str, str | None] = {}

    @cached_property
    def model(self) -> nn.Module:
        """The model, in evaluation mode.

        Raises:
            ValueError: The config has no model, or ``load_from`` and there is no
                checkpoint, or a weight is not finite.
            CheckpointError: The checkpoint cannot be read or is of another model.
            TransplantError: The language model of a LanguageInitHook does not fit.
        """
        if self.checkpoint:
            model = build_model(self.cfg, seed_of(self.cfg))
            load_part(model, self.checkpoint)
        else:
            model = build_initial_model(self.cfg)
        for name, parameter in model.named_parameters():
            # Some kernels swallow a nan, and the numbers look sound.
            if not torch.isfinite(parameter).all():
                raise ValueError(
                    f"Expected finite weights, got nan or infinity in {name}: the "
                    f"training diverged, take an earlier checkpoint."
                )
        return model.to(self.device).eval()

    @property
    def backbone(self) -> LanguageBackbone:
        """The model's language backbone.

        Raises:
            ValueError: It has another one, or none.
        """
        backbone = getattr(self.model, "backbone", None)
        if not isinstance(backbone, LanguageBackbone):
            found = type(backbone).__name__ if backbone is not None else "no backbone"
            raise ValueError(
                f"Expected a model with an lbbt_mm.LanguageBackbone, got {found} in "
                f"{type(self.model).__name__}: this looks at its language blocks; "
                f"--only outliers measures any model."
            )
        return backbone

    @property
    def is_dense(self) -> bool:
        """Whether it is a detector or a segmenter: no one label for an image."""
        return any(kind.__name__ in _DENSE for kind in type(self.model).__mro__)

    @property
    def llava(self) -> LLaVA:
        """The model, which answers in words.

        Raises:
            ValueError: It is another one.
        """
        if not isinstance(self.model, LLaVA):
            raise ValueError(
                f"Expected an lbbt_mm.LLaVA, got {type(self.model).__name__}: this "
                f"looks at visual tokens beside a language model's words."
            )
        return self.model

    @cached_property
    def initial_kernel(self) -> Tensor:
        """The patch embedding as it was before training, drawn with the same seed.

        Raises:
            CheckpointError: Training started from ``load_from``, which is gone.
        """
        if self.checkpoint is None:
            return self.backbone.patch_embed.projection.weight.detach().clone()
        start = self.cfg.get("load_from")
        model: Any
        if start:
            model = build_model(self.cfg, seed_of(self.cfg))
            load_part(model.backbone, start, "backbone.")
        else:
            model = build_initial_model(self.cfg)
        return model.backbone.patch_embed.projection.weight.detach().to(self.device)

    def images(self, split: str, number: int) -> tuple[DataLoader, dict[str, Any]]:
        """Prepare images through the test pipeline.

        Args:
            split: ``'train'`` or ``'test'``: of which loader.
            number: Of images, drawn with the seed; all if there are fewer.

        Returns:
            Batches ``(B, C, height, width)`` on the device, and what to call them.
        """
        return self._batches(split, number, lambda batch: batch["inputs"])

    def features(self, split: str, number: int) -> tuple[Features, dict[str, Any]]:
        """Compute the backbone's pooled features of images with true labels.

        Args:
            split: ``'train'`` or ``'test'``.
            number: Of images.

        Returns:
            Features in float32, kept for the next measurement; what to call the images.

        Raises:
            ValueError: An image has no single true label.
        """
        if (split, number) not in self._features:
            batches, data = self._batches(split, number)
            rows, labels = [], []
            model: Any = self.model
            with torch.no_grad():
                for batch in follow(batches, f"{split} features", self.progress):
                    labels.append(true_labels(batch["data_samples"]))
                    output = model.extract_feat(batch["inputs"], stage="backbone")
                    rows.append(pool_features(output).float().cpu())
            features = Features(torch.cat(rows), torch.cat(labels))
            self._features[split, number] = features, data
        return self._features[split, number]

    def visual_tokens(self, number: int) -> tuple[Iterator[Tensor], dict[str, Any]]:
        """Project images into a language model, as a LLaVA does.

        Args:
            number: Of conversations with images, of the test set, or of the training
                set where there is none.

        Returns:
            Batches of visual tokens ``(N, D)``, and what to call the images.

        Raises:
            ValueError: The model is no LLaVA, or no conversation has an image.
        """
        split = "test" if self.cfg.get("test_dataloader") else "train"
        cfg = self._config(split)[0]
        dataset = self._dataset(cfg)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(dataset), generator=generator).tolist()
        # Their numbers alone are kept: tiles may be many.
        shown = list(islice((i for i in order if len(dataset[i]["inputs"])), number))
        if not shown:
            raise ValueError(f"Expected conversations with images in the {split} set.")
        first = [dataset[i]["inputs"] for i in shown[:_FINGERPRINTED]]
        pixels = b"".join(tiles.numpy().tobytes() for tiles in first)
        model = self.llava

        @torch.no_grad()
        def batches() -> Iterator[Tensor]:
            for index in follow(shown, f"{split} tokens", self.progress):
                batch = pseudo_collate([dataset[index]])
                batch = model.data_preprocessor(batch, False)
                yield model.features(torch.cat(batch["inputs"])).flatten(0, -2)

        return batches(), dict(
            dataset=_name_of(cfg),
            split=split,
            images=len(shown),
            fingerprint=hashlib.sha256(pixels).hexdigest()[:16],
            content=self.content(split),
        )

    def loss(self, number: int) -> tuple[ScalarLoss, dict[str, Any]]:
        """See the training loss as a function of the parameters.

        The images are of the training set with the labels that they were trained on,
        without augmentation and dropout.

        Args:
            number: Of images, an even one: they are computed in two halves.

        Raises:
            ValueError: The model has no such loss, see :class:`ScalarLoss`.
        """
        batches, data = self._batches("train", number, as_trained=True)
        model: Any = self.model

        def loss_of(batch: Mapping[str, Any]) -> Any:
            losses = model.loss(batch["inputs"], batch["data_samples"])
            return sum(v for k, v in losses.items() if "loss" in k)

        # Few batches, and read again for each product.
        losses = [partial(loss_of, batch) for batch in batches]
        return ScalarLoss(model, losses, data["images"]), data

    def test_loss(self, number: int) -> tuple[ScalarLoss, dict[str, Any]]:
        """See the plain cross-entropy of test images with their true labels.

        Args:
            number: Of images, an even one.

        Raises:
            ValueError: See :meth:`loss`.
        """
        batches, data = self._batches("test", number)
        model: Any = self.model

        def loss_of(batch: Mapping[str, Any]) -> Any:
            labels = true_labels(batch["data_samples"]).to(self.device)
            return F.cross_entropy(model(batch["inputs"], mode="tensor"), labels)

        losses = [partial(loss_of, batch) for batch in batches]
        return ScalarLoss(model, losses, data["images"]), data

    def content(self, split: str) -> str | None:
        """Hash the images that are measured on, and their true labels.

        Args:
            split: ``'train'`` or ``'test'``.

        Returns:
            See :func:`~lbbt_mm.probe.feature_key.images_sha256`; None where an
            image that is replaced could not be told from its successor.
        """
        if split not in self._contents:
            wrapped, pipeline, _ = self._config(split)
            dataset = self._dataset(true_label_dataset(wrapped, pipeline))
            try:
                self._contents[split] = images_sha256(dataset)
            except UnknownContentError:
                self._contents[split] = None
        return self._contents[split]

    def _config(self, split: str) -> tuple[Any, list, int]:
        """Dataset of a split, and what the test images go through: pipeline, batch."""
        loader = self.cfg.get(f"{split}_dataloader")
        if not loader:
            raise ValueError(
                f"Expected {split}_dataloader in the config, got none: this "
                f"measurement looks at its images."
            )
        test = self.cfg.get("test_dataloader") or loader
        find = clean_pipeline if split == "train" else find_pipeline
        pipeline = find(test["dataset"])
        return loader["dataset"], pipeline, test.get("batch_size", 32)

    def _batches(
        self,
        split: str,
        number: int,
        part: Callable[[dict[str, Any]], Any] = lambda batch: batch,
        as_trained: bool = False,
    ) -> tuple[DataLoader, dict[str, Any]]:
        """Load images with true labels, or those of training in two equal halves."""
        wrapped, pipeline, size = self._config(split)
        plain = true_label_dataset(wrapped, pipeline)
        shown = with_pipeline(wrapped, pipeline) if as_trained else plain
        dataset: Any = self._dataset(shown)
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(len(dataset), generator=generator)[:number].tolist()
        if as_trained:
            size = len(order) // 2
            order = order[: 2 * size]
        if not order:
            raise ValueError(
                f"Expected {2 if as_trained else 1} or more images of "
                f"{split}_dataloader, got {min(number, len(dataset))}: ask for more, "
                f"or check its data_root."
            )
        model: Any = self.model

        def prepare(samples: list[Any]) -> dict[str, Any]:
            batch = model.data_preprocessor(default_collate(samples), False)
            if not isinstance(batch["inputs"], Tensor):
                raise ValueError(
                    "Expected one image from each sample of the dataset, got several "
                    "views: measure with the config of a classifier."
                )
            return batch

        loader: DataLoader = DataLoader(
            dataset,
            size,
            sampler=order,
            collate_fn=lambda samples: part(prepare(samples)),
            generator=torch.Generator(),  # torch's own would go on
        )
        first = prepare([dataset[index] for index in order[:_FINGERPRINTED]])["inputs"]
        pixels = first.float().cpu().numpy().tobytes()
        classes = dataset.metainfo.get("classes")
        return loader, dict(
            dataset=_name_of(plain),
            split=split,
            images=len(order),
            classes=len(classes) if classes else None,
            fingerprint=hashlib.sha256(pixels).hexdigest()[:16],
            content=self.content(split),
        )

    def _dataset(self, cfg: Any) -> Any:
        key = str(cfg)
        if key not in self._datasets:
            dataset: Any = build_guarded(lambda: DATASETS.build(cfg), cfg)
            if hasattr(dataset, "full_init"):
                dataset.full_init()
            self._datasets[key] = dataset
        return self._datasets[key]


def _name_of(dataset: Mapping[str, Any]) -> str:
    while "dataset" in dataset:
        dataset = dataset["dataset"]
    classes = dataset.get("classes")
    return classes if isinstance(classes, str) else type_name(dataset).split(".")[-1]
