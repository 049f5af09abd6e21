"""Run a frozen model once over a dataset, and keep the features on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from lbbt_mm.files import write_whole
from lbbt_mm.language.storage import tensor_bytes
from lbbt_mm.progress import follow


@dataclass(frozen=True)
class Features:
    """What a frozen model makes of a dataset, in the dataset's order.

    Attributes:
        features: Pooled outputs, (images, channels) float32, on the CPU.
        labels: True classes, (images,) int64.
    """

    features: Tensor
    labels: Tensor


def pool_features(output: Any) -> Tensor:
    """Make one vector per image of what a backbone returns.

    Args:
        output: A tensor, or a tuple of stages of which the last one counts: a vector
            (N, C) is taken as it is; a map (N, C, H, W) and tokens (N, L, C) are
            averaged over their positions.

    Returns:
        Vectors (N, C).

    Raises:
        ValueError: The last stage is no such tensor.
    """
    last = output[-1] if isinstance(output, (tuple, list)) and output else output
    if not isinstance(last, Tensor) or last.ndim not in (2, 3, 4):
        found = tuple(last.shape) if isinstance(last, Tensor) else type(last).__name__
        raise ValueError(
            "A linear probe expects the backbone's last output to be a vector (N, C), "
            f"tokens (N, L, C) or a map (N, C, H, W), got {found}. Set the backbone's "
            "out_type, for example 'last' or 'avg'."
        )
    if last.ndim == 4:
        return last.mean(dim=(2, 3))
    return last.mean(dim=1) if last.ndim == 3 else last


def extract_features(
    model: Any,
    dataloader: Any,
    device: str | torch.device = "cpu",
    amp: bool = False,
    description: str = "features",
) -> Features:
    """Run a frozen mmpretrain classifier once over a dataset.

    Args:
        model: A classifier with ``data_preprocessor`` and
            ``extract_feat(inputs, stage='backbone')``; moved to ``device`` and left
            in evaluation mode.
        dataloader: Batches of ``inputs`` and labelled ``data_samples``, in a fixed
            order, each image once.
        device: Where the model runs.
        amp: Run it under bfloat16 autocast.
        description: Name in the progress bar.

    Raises:
        ValueError: An image has no single label, the backbone's output cannot be
            pooled, or the loader did not yield each image of its dataset once.
    """
    pools = {"": of_output}
    return extract_readouts(model, dataloader, pools, device, amp, description)[""]


def of_output(images: Tensor, output: Any) -> Tensor:
    """Pool what the backbone returns: see :func:`pool_features`."""
    return pool_features(output)


@torch.no_grad()
def extract_readouts(
    model: Any,
    dataloader: Any,
    pools: Mapping[str, Callable[[Tensor, Any], Tensor]],
    device: str | torch.device = "cpu",
    amp: bool = False,
    description: str = "features",
) -> dict[str, Features]:
    """Run a frozen classifier once, and read its outputs in several ways.

    Args:
        model: See :func:`extract_features`, as the others.
        dataloader: Batches.
        pools: Name -> vectors (N, C) of the images as the model gets them, and of
            what its backbone returns; ``pixels`` needs the images only.
        device: Where the model runs.
        amp: Run it under bfloat16 autocast.
        description: Name in the progress bar.

    Raises:
        ValueError: See :func:`extract_features`.
    """
    device = torch.device(device)
    model.to(device).eval()
    total = len(dataloader.dataset)
    features: dict[str, Tensor] = {}
    labels = torch.empty(total, dtype=torch.int64)
    done = 0
    for batch in follow(dataloader, description, unit="batches"):
        batch = model.data_preprocessor(batch, False)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            images, output = batch["inputs"], None
            if any(name != "pixels" for name in pools):
                output = model.extract_feat(images, stage="backbone")
            pooled = {name: pool(images, output) for name, pool in pools.items()}
        if not features:  # once, at its final size: concatenating needs it twice
            features = {n: torch.empty(total, p.shape[1]) for n, p in pooled.items()}
        end = done + len(batch["inputs"])
        if end <= total:
            for name, found in pooled.items():
                features[name][done:end] = found
            labels[done:end] = true_labels(batch["data_samples"])
        done = end
    if done != total or not features:
        raise ValueError(
            f"Expected each of the {total} images once, got {done}. Use a data loader "
            "with drop_last=False and DefaultSampler(shuffle=False), in one process."
        )
    return {name: Features(found, labels) for name, found in features.items()}


def true_labels(data_samples: list) -> Tensor:
    """Collect the labels ``(B,)`` of a batch.

    Raises:
        ValueError: An image has no single label.
    """
    found = [sample.get("gt_label") for sample in data_samples]
    if any(label is None or label.numel() != 1 for label in found):
        raise ValueError(
            "Expected one true label for each image, and the dataset has none or "
            "several. Give a labelled dataset: --cfg-options "
            "train_dataloader.dataset.KEY=VALUE."
        )
    return torch.cat(found).cpu()


def _content_sha256(features: Features) -> str:
    digest = hashlib.sha256(tensor_bytes(features.features))
    digest.update(tensor_bytes(features.labels))
    return digest.hexdigest()


def cached_features(
    path: Path, extract: Callable[[], Features]
) -> tuple[Features, bool]:
    """Read features from ``path``, or extract them and write them there.

    A file that cannot be read, or whose content does not match its checksum, is made
    again with a warning. If it cannot be written, the features are returned all the
    same, with a warning.

    Args:
        path: A ``.safetensors`` file, named by
            :func:`~lbbt_mm.probe.feature_key.feature_key`.
        extract: Makes the features.

    Returns:
        The features, and whether they came from the file.
    """
    if path.is_file():
        try:
            return _read(path), True
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            warnings.warn(
                f"The feature cache {path} is damaged ({error}); extracting again.",
                stacklevel=2,
            )
    features = extract()
    try:
        _write(path, features)
    except (OSError, safetensors.SafetensorError) as error:
        size = features.features.nbytes / 2**20
        warnings.warn(
            f"The features ({size:.0f} MiB) could not be written to {path} ({error}); "
            "going on with those in memory, but the next run extracts them again. "
            "Free some space, or choose another --work-dir.",
            stacklevel=2,
        )
    return features, False


def _read(path: Path) -> Features:
    with safetensors.safe_open(path, framework="pt") as file:
        names = set(file.keys())
        if names != {"features", "labels"}:
            raise ValueError(f"expected features and labels, got {sorted(names)}")
        found = Features(file.get_tensor("features"), file.get_tensor("labels"))
        checksum = (file.metadata() or {}).get("sha256")
    if checksum != _content_sha256(found):
        raise ValueError("its content does not match its checksum")
    # The checksum is of bytes alone; with these, they leave one shape only.
    kinds = found.features.dtype, found.labels.dtype
    images = found.features.shape[:1]
    if kinds != (torch.float32, torch.int64) or found.labels.shape != images:
        raise ValueError(
            f"expected float32 features and an int64 label for each image, got "
            f"{kinds[0]} {tuple(found.features.shape)} and "
            f"{kinds[1]} {tuple(found.labels.shape)}"
        )
    return found


def _write(path: Path, features: Features) -> None:
    write_whole(
        path,
        lambda part: save_file(
            {"features": features.features, "labels": features.labels},
            part,
            metadata={"sha256": _content_sha256(features)},
        ),
    )
