"""Whether a resumed run still has the images that it was begun with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from mmengine.logging import MessageHub

from lbbt_mm.datasets.checks.damaged import DataError

_KEY = "lbbt_mm/images"  # in the message hub, which mmengine keeps in checkpoints


class ChangedImagesError(DataError):
    """A run was resumed with other images than it was begun with."""


class _Begun(list):
    """What this process has enlisted itself, rather than read from a checkpoint."""

    def __reduce__(self) -> tuple:  # copied and saved as a plain list
        return list, (list(self),)


def describe_images(dataset: Any) -> list:
    """Count the images of a dataset and take their fingerprint.

    Args:
        dataset: With ``get_data_info``.

    Returns:
        The number of images, and 16 hexadecimal digits of their names in order, below
        the dataset's folder; images without files count by their pixels.
    """
    digest = hashlib.sha256()
    folder = _folder(dataset)
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        path, image = info.get("img_path"), info.get("img")
        if path:
            name = os.fspath(path)
            digest.update(os.fsencode(name.removeprefix(folder).lstrip("/\\")) + b"\n")
        elif isinstance(image, np.ndarray):
            digest.update(np.ascontiguousarray(image).data)
    return [len(dataset), digest.hexdigest()[:16]]


def join_descriptions(parts: Iterable[list]) -> list:
    """Describe several datasets as one; one alone stays as it is."""
    parts = list(parts)
    if len(parts) == 1:
        return parts[0]
    text = "".join(fingerprint for _, fingerprint in parts)
    return [sum(n for n, _ in parts), hashlib.sha256(text.encode()).hexdigest()[:16]]


def _folder(dataset: Any) -> str:
    """What all paths begin with, which another machine may call otherwise."""
    prefix = getattr(dataset, "data_prefix", None) or {}
    folders = (*prefix.values(), getattr(dataset, "data_root", None))
    return next((os.fspath(folder) for folder in folders if folder), "")


def enlist(owner: Any, images: list, accept_changed: bool) -> None:
    """Note the images of a dataset in the run; after a resume, compare them.

    mmengine's message hub goes into every checkpoint and comes back at a resume, with
    a plain ``Runner`` too. A dataset that was built before its run was resumed must be
    among those that the checkpoint names.

    Args:
        owner: The dataset; remembers in ``_enlisted`` in which run it is noted.
        images: See :func:`describe_images`.
        accept_changed: Go on with other images.

    Raises:
        ChangedImagesError: They are others, and that is not accepted.
    """
    hub = MessageHub.get_current_instance()
    known = hub.runtime_info.get(_KEY)
    if known is None:
        hub.update_info(_KEY, known := _Begun())
    built_before = owner._enlisted == hub.instance_name
    owner._enlisted = hub.instance_name
    if images in known:
        return
    if isinstance(known, _Begun) or not built_before:
        known.append(images)
        return
    if accept_changed:  # from now on, these are the ones
        hub.update_info(_KEY, _Begun([images]))
        return
    name = type(owner).__name__
    begun = " or ".join(f"{n} (fingerprint {digits})" for n, digits in known)
    raise ChangedImagesError(
        f"{name}: expected the images that this run was begun with, {begun}, got "
        f"{images[0]} (fingerprint {images[1]}), and other images mean another draw "
        "for all of them; bring back the files, begin a new run, or set "
        f"accept_changed_images=True in {name} to go on all the same."
    )
