"""What a damaged image is, and the sentence to stop with."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from PIL import Image


class DataError(RuntimeError):
    """Something is wrong with the files of a dataset: one sentence says what."""

    @property
    def sentence(self) -> str:
        """The sentence alone, also if the error comes from a data loader's worker."""
        return str(self).rsplit(f"{type(self).__name__}: ", 1)[-1].strip()


class DamagedImageError(DataError):
    """An image file cannot be read.

    Args:
        message: One sentence; a data loader's worker wraps a traceback around it.
        path: The file.
        why: What is wrong with it.
    """

    def __init__(self, message: str, path: str = "", why: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.why = why


def why_unreadable(pipeline: Any, path: str) -> str | None:
    """Ask the pipeline's own loader whether it can read a file.

    Args:
        pipeline: mmengine's ``Compose``, one step of it, or anything.
        path: The file.

    Returns:
        What is wrong with the file; None if the loader reads it, or if there is none
        and the failure is somebody else's.
    """
    for step in getattr(pipeline, "transforms", (pipeline,)):
        info = _asked(step, path)
        if info is None:
            continue
        try:
            readable = step(info) is not None
        except FileNotFoundError:
            return "there is no such file"
        except IsADirectoryError:
            return "it is a folder"
        except PermissionError:
            return "permission denied"
        except MemoryError:
            return "the memory does not hold it"
        except Exception:
            # The decoders' own words ("failed to load image", "!buf.empty()") say
            # less than the size does.
            readable = False
        if readable:
            return None
        size = os.path.getsize(path) if os.path.isfile(path) else None
        if size == 0:
            return "the file is empty"
        return _too_large(path) or f"{size or 'its'} bytes are no complete image"
    return None


def stop_if_damaged(
    pipeline: Any, path: Any, error: Exception, name: str = "", cure: str = ""
) -> None:
    """Raise :class:`DamagedImageError` if a file is why a pipeline has failed.

    Args:
        pipeline: See :func:`why_unreadable`.
        path: The file, if there is one.
        error: What the pipeline has raised.
        name: The file as the sentence names it.
        cure: The end of the sentence.

    Raises:
        DamagedImageError: The pipeline's loader cannot read it.
    """
    why = path and why_unreadable(pipeline, path)
    if why:
        raise DamagedImageError(
            f"{name or path} cannot be read ({why}); replace the file, or "
            f"{cure or 'take it out of the dataset'}.",
            path,
            why,
        ) from error


def _asked(step: Any, path: str) -> dict | None:
    """What to hand to a step so that it reads the file; None if it reads none."""
    loading = sys.modules.get("mmcv.transforms.loading")
    image = getattr(loading, "LoadImageFromFile", ())
    labels = getattr(loading, "LoadAnnotations", ())
    names = [kind.__name__ for kind in type(step).__mro__]
    if isinstance(step, image) or any(name.startswith("LoadImage") for name in names):
        return dict(img_path=path)
    if isinstance(step, labels) and getattr(step, "with_seg", False):
        return dict(
            seg_map_path=path,
            seg_fields=[],
            # mmseg compares its own setting with the dataset's.
            reduce_zero_label=getattr(step, "reduce_zero_label", False),
        )
    return None


def _too_large(path: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.open(path).close()
    except Image.DecompressionBombError as error:
        size = str(error).partition(" exceeds")[0]  # "Image size (900000000 pixels)"
        return f"{size.lower()} is more than the decoder accepts; make it smaller"
    except (OSError, ValueError):
        pass
    return None


def is_torn_jpeg(path: str) -> bool:
    """Whether a local JPEG file lacks its end mark.

    OpenCV before 4.12 fills the missing part with grey and says so on stderr only.

    Args:
        path: The file; a missing or remote one, or another format, is not torn.

    Returns:
        True if the end mark is not among the last 64 KiB, where some cameras and
        editors append data of their own.
    """
    if not path.lower().endswith((".jpg", ".jpeg")):
        return False
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"\xff\xd8":  # no JPEG after all: the loader's business
                return False
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - (1 << 16)))
            return b"\xff\xd9" not in file.read()
    except OSError:
        return False
