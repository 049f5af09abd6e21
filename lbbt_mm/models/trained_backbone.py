"""A trained backbone out of its checkpoint, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from PIL import Image, ImageOps
from torch import Tensor

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import own_record
from lbbt_mm.language.storage import load_pickle, weights_in
from lbbt_mm.models.backbone.language_backbone import LanguageBackbone
from lbbt_mm.models.checkpoint_config import (
    LANGUAGE_BACKBONES,
    building_foreign,
    find_dicts,
    foreign_config,
    use_checkpoint_only,
)
from lbbt_mm.models.pretrained import load_part
from lbbt_mm.registry import MODELS
from lbbt_mm.safety.dumped_config import at, plain_model
from lbbt_mm.safety.registered_names import check_config


@dataclass(frozen=True)
class ImageTransform:
    """From any image to what a backbone was trained on.

    Attributes:
        size: Height and width in pixels.
        channels: 3, or 1 for grey images.
        mean: Subtracted from pixels of 0 to 255, one number or one a channel.
        std: What they are divided by then.
        bgr: Whether the channels are in reverse order.
    """

    size: tuple[int, int]
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False

    def __call__(self, image: str | Path | Image.Image | np.ndarray) -> Tensor:
        """Scale the shorter side, cut out the middle, normalise.

        Args:
            image: A file, an image of Pillow, or an array of 0 to 255, ``(height,
                width)`` or ``(height, width, 3)`` in RGB.

        Returns:
            ``(channels, height, width)``.

        Raises:
            OSError: The file is missing, or no image.
        """
        if isinstance(image, np.ndarray):
            image = Image.fromarray(image)
        elif not isinstance(image, Image.Image):
            image = Image.open(image)
        image = image.convert("L" if self.channels == 1 else "RGB")
        height, width = self.size
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
        pixels = torch.from_numpy(np.array(image)).float().view(height, width, -1)
        if self.bgr:
            pixels = pixels.flip(-1)
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return ((pixels - mean) / std).permute(2, 0, 1).contiguous()


def load_backbone(checkpoint: str | Path, **options: Any) -> LanguageBackbone:
    """Build the backbone of a trained model from its checkpoint alone.

    Neither the config's file nor the language model is needed, and no code of the
    checkpoint is run.

    Args:
        checkpoint: A ``.pth`` file that a run saved.
        options: Of :class:`LanguageBackbone`, in place of those it was trained with:
            ``out_type='raw'``, ``img_size=448``.

    Returns:
        The backbone, in evaluation mode on the CPU; its ``transform`` turns an image
        into the input that it was trained on: see :class:`ImageTransform`.

    Raises:
        CheckpointError: The file is missing or damaged, carries no config, or holds no
            language backbone; or an option asks for other weights than there are.
        ValueError: An option is unknown, or the config in the file asks for something
            that none of the four libraries registered.

    Example:
        >>> backbone = lbbt_mm.load_backbone("work_dirs/bridge/epoch_6.pth")
        >>> features = backbone(backbone.transform("cat.jpg")[None])[-1]
    """
    content, where = load_pickle(Path(checkpoint).expanduser()), str(checkpoint)
    record = own_record(weights_in(content, where), where)
    if record is None or "config" not in record[1]:
        raise CheckpointError(
            f"{where} holds no LanguageBackbone: expected a checkpoint of a run with "
            f"one."
        )
    text = at(content, "meta", "cfg")
    if not isinstance(text, str):
        raise CheckpointError(
            f"{where} carries no config, as a run's checkpoint does: build the "
            f"backbone by LanguageBackbone({where!r}, img_size=..., patch_size=...), "
            f"with the sizes that it was trained with."
        )
    cfg = foreign_config(text, where, [])  # only the backbone is built
    found = next(
        find_dicts(plain_model(cfg), LANGUAGE_BACKBONES, scope="lbbt_mm"), None
    )
    if found is None:
        raise CheckpointError(f"The config in {where} has no LanguageBackbone.")
    check_config(dict(backbone=found), where, "lbbt_mm")
    transform = transform_of(cfg, {**found, **options})
    alone = Config(dict(model=dict(found, **options)))
    use_checkpoint_only(alone, where)
    with building_foreign(f"the backbone in {where}"):
        backbone: Any = MODELS.build(alone.model)
    load_part(backbone, where, record[0].removesuffix("language."))
    backbone.transform = transform
    return backbone.eval()


def transform_of(cfg: Any, backbone: Mapping[str, Any]) -> ImageTransform:
    """Read from a config what its test images look like to the backbone.

    Args:
        cfg: With a ``data_preprocessor``, its own or its model's.
        backbone: Of the config.
    """
    size = backbone.get("img_size", 224)
    size = (size, size) if isinstance(size, int) else (size[0], size[-1])
    step = cfg.get("data_preprocessor") or at(cfg, "model", "data_preprocessor") or {}
    while at(step, "preprocessor"):  # EnlargeOnDevice stands around another
        step = step["preprocessor"]
    mean, std = (at(step, key) for key in ("mean", "std"))
    if mean is None:
        mean, std = (0.0,), (1.0,)
    # mmcv reads files as BGR; CIFAR's arrays, for example, are RGB as they are.
    bgr = not at(step, "to_rgb") and "LoadImageFromFile" in str(_pipeline(cfg))
    channels = backbone.get("in_channels", 3)
    return ImageTransform(size, channels, tuple(mean), tuple(std), bgr and channels > 1)


def _pipeline(cfg: Any) -> Any:
    loaders = (at(cfg, f"{part}_dataloader") for part in ("test", "val", "train"))
    return next((loader for loader in loaders if loader), None)
