"""Conversations about images, and visual questions, without any tokenising.

mmpretrain's ``GQA`` (LAVIS' file of it), ``TextVQA`` and ``ScienceQA`` give a question
and its answer, without turns or ``<image>``, and check neither records nor images.
These read the publishers' files and LLaVA's as turns, and say which record is bad.
"""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from PIL import Image

from lbbt_mm.datasets.checks.damaged import DamagedImageError
from lbbt_mm.datasets.vqa_formats import (
    FORMATS,
    BadSampleError,
    llava_sample,
    read_json,
)
from lbbt_mm.pictures import read_upright
from lbbt_mm.registry import DATASETS


class _ImageTextDataset(BaseDataset):
    """What both data sets share: image folder, bad records, images read when asked."""

    def __init__(
        self,
        ann_file: str,
        data_root: str = "",
        data_prefix: dict | None = None,
        on_bad: str = "error",
        check_images: bool = True,
        load_images: bool = True,
        **kwargs: Any,
    ) -> None:
        if on_bad not in ("error", "skip"):
            raise ValueError(f"on_bad: expected 'error' or 'skip', got {on_bad!r}.")
        self.on_bad, self.check_images = on_bad, check_images
        self.load_images = load_images
        self.skipped: dict[str, int] = {}
        super().__init__(
            ann_file=os.path.expanduser(ann_file),
            data_root=os.path.expanduser(data_root),
            data_prefix=data_prefix or dict(img_path=""),
            **kwargs,
        )

    def load_data_list(self) -> list[dict]:
        """Read all records.

        Raises:
            ValueError: A record cannot be used and ``on_bad='error'``, or none can.
        """
        bad: Counter[str] = Counter()
        kept = []
        for number, found in enumerate(self._records()):
            try:
                if isinstance(found, BadSampleError):
                    raise found
                kept.append(self._with_folder(found))
            except BadSampleError as error:
                if self.on_bad == "error":
                    raise ValueError(
                        f"{self.ann_file}: expected records that can be used, got "
                        f"number {number} with {error}; correct it, or leave such "
                        "records out with on_bad='skip'."
                    ) from error
                bad[error.kind] += 1
        self.skipped = dict(bad)
        if bad:
            out = sum(bad.values())
            print_log(
                f"{self.ann_file}: {out} of {len(kept) + out} records left out: "
                f"{self.skipped}",
                "current",
                logging.WARNING,
            )
        if not kept:
            raise ValueError(
                f"{self.ann_file}: expected at least one record that can be used, got "
                f"none (left out: {self.skipped}); look at the file and data_prefix."
            )
        return kept

    def _records(self) -> Iterator[dict | BadSampleError]:
        raise NotImplementedError

    def _with_folder(self, sample: dict) -> dict:
        folder = self.data_prefix.get("img_path", "")
        paths = [os.path.join(folder, path) for path in sample["img_paths"]]
        # The names come with the annotations; a link in the folder is its owner's, and
        # what is above a link's target is not below the folder.
        paths = [os.path.normpath(path) if ".." in path else path for path in paths]
        roots = [os.path.abspath(root) for root in (folder, self.data_root) if root]
        for path in paths:
            place = os.path.abspath(path)
            if roots and not any(place.startswith(root + os.sep) for root in roots):
                raise BadSampleError(
                    "image outside of the data", f"{path}, which is not in {roots[0]}"
                )
        if self.check_images:
            for path in paths:
                if not os.path.isfile(path):
                    raise BadSampleError("missing image", f"there is no file {path}")
        return dict(sample, img_paths=paths)

    def prepare_data(self, idx: int) -> Any:
        """Read the sample's images and run the pipeline.

        Returns:
            The sample, with ``images``, a list of RGB ``PIL.Image``, in the order of
            the ``<image>`` tokens (without ``load_images`` there is no such key).

        Raises:
            DamagedImageError: A file cannot be read.
        """
        sample = self.get_data_info(idx)
        if self.load_images:
            sample["images"] = [_read(path) for path in sample["img_paths"]]
        return self.pipeline(sample)


def _read(path: str) -> Image.Image:
    try:
        return read_upright(path)
    except (OSError, SyntaxError) as error:
        raise DamagedImageError(
            f"Expected an image in {path}, got a file that cannot be read ({error}); "
            "fetch it again, or take its record out.",
            path,
            str(error),
        ) from error


@DATASETS.register_module()
class ConversationDataset(_ImageTextDataset):
    """LLaVA's pre-training and instruction files: conversations about images.

    A sample is ``dict(sample_id, img_paths, turns, images, sample_idx)``; a turn is
    ``dict(role, text)`` with ``'user'``, ``'assistant'`` or, first, ``'system'``. What
    the tokens become, the chat template and the labels belong to the model.

    Bad records are: an unknown role, no turns, turns out of order, an ``<image>`` token
    without an image, an image without a token, a token in an answer, a missing image.

    Args:
        ann_file: JSON list, or ``.jsonl``, relative to ``data_root``.
        data_root: Folder of everything.
        data_prefix: ``dict(img_path=...)``: folder of the images.
        on_bad: ``'error'``: stop at the first bad record; ``'skip'``: leave them out,
            count them by kind in ``skipped`` and log the counts.
        check_images: Look for every image file at the start; without it a missing one
            stops the run when its turn comes.
        load_images: Read the images of a sample when it is asked for.
        **kwargs: As in mmengine's ``BaseDataset``: ``pipeline``, ``indices``, ...

    Example::

        dataset = dict(type="lbbt_mm.ConversationDataset", data_root="data/llava",
                       ann_file="llava_v1_5_mix665k.json", on_bad="skip",
                       data_prefix=dict(img_path="images"), pipeline=pipeline)
    """

    def _records(self) -> Iterator[dict | BadSampleError]:
        for number, record in enumerate(read_json(self.ann_file)):
            try:
                yield llava_sample(record, number)
            except BadSampleError as error:
                yield error
            except (KeyError, TypeError, AttributeError) as error:
                yield BadSampleError("missing field", f"{error!r}")


@DATASETS.register_module()
class VQADataset(_ImageTextDataset):
    """Visual questions in the public file formats.

    A sample is that of :class:`ConversationDataset` with one turn, the question, and
    ``question``, ``answers``, ``question_type``, for ScienceQA also ``choices``.

    Args:
        ann_file: The annotation file; for ScienceQA ``problems.json``, beside which
            ``pid_splits.json`` lies.
        format: ``'scienceqa'``, ``'textvqa'``, ``'gqa'``, ``'mmvet'``, or ``'llava'``:
            LLaVA's JSON with one question and one answer a record.
        prompt: Words behind each question. None: those of LLaVA-1.5 for the format.
        split: Of ScienceQA: ``'train'``, ``'val'``, ``'test'``, ``'minival'``, ...
        shuffle_images: A seed: every question gets another question's image, all
            questions of one image the same other one. The blind baseline: what a model
            still answers right then it did not see.
        **kwargs: As in :class:`ConversationDataset`.

    Raises:
        ValueError: Unknown format, or ``shuffle_images`` with fewer than two images.

    Example::

        dataset = dict(type="lbbt_mm.VQADataset", format="gqa", data_root="data/gqa",
                       ann_file="testdev_balanced_questions.json",
                       data_prefix=dict(img_path="images"), pipeline=pipeline)
    """

    def __init__(
        self,
        ann_file: str,
        format: str,
        prompt: str | None = None,
        split: str = "test",
        shuffle_images: int | None = None,
        **kwargs: Any,
    ) -> None:
        if format not in FORMATS:
            raise ValueError(
                f"format: expected one of {sorted(FORMATS)}, got {format!r}."
            )
        self.format, self.split, self.shuffle_images = format, split, shuffle_images
        self.prompt = FORMATS[format][1] if prompt is None else prompt
        super().__init__(ann_file=ann_file, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read all questions, and exchange their images if asked to."""
        samples = super().load_data_list()
        if self.shuffle_images is None:
            return samples
        images = sorted({path for sample in samples for path in sample["img_paths"]})
        if len(images) < 2:
            raise ValueError(
                "shuffle_images: expected at least two different images, got "
                f"{len(images)}; leave shuffle_images out."
            )
        random.Random(self.shuffle_images).shuffle(images)
        # One circle through all images: none comes back to itself.
        other = dict(zip(images, images[1:] + images[:1], strict=True))
        for sample in samples:
            sample["img_paths"] = [other[path] for path in sample["img_paths"]]
        return samples

    def _records(self) -> Iterator[dict | BadSampleError]:
        samples = FORMATS[self.format][0](self.ann_file, self.prompt, self.split)
        try:
            yield from samples
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(
                f"{self.ann_file}: expected the format {self.format!r}, got a record "
                f"that does not fit ({error!r}); docs/vqa.md shows the formats."
            ) from error
