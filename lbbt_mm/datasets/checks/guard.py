"""Errors in the files of any dataset, as one sentence that names the file.

Before a run, :func:`guard_dataset` looks at what a dataset says of itself: ``left_out``
(files of a folder that it does not show) and ``categories`` (names of classes). When an
image is read, :class:`GuardedPipeline` asks ``damaged`` (can the file be read) and
``label_maps`` (is it one). ``same_images`` compares the images of a resumed run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmengine.dataset import Compose

from lbbt_mm.datasets.checks.categories import check_categories, coco_problem
from lbbt_mm.datasets.checks.damaged import DataError, stop_if_damaged
from lbbt_mm.datasets.checks.label_maps import check_label_map, reads_label_maps
from lbbt_mm.datasets.checks.left_out import say_left_out
from lbbt_mm.registry import DATASETS, names_of


class GuardedPipeline(Compose):
    """A pipeline that names the file when it cannot read one, and checks label maps.

    Args:
        inner: The pipeline; its list of transforms is shared, not copied.
        num_classes: Of the dataset; None if unknown.
        ignore_index: Label of a pixel without a class.
    """

    def __init__(
        self, inner: Compose, num_classes: int | None, ignore_index: int
    ) -> None:
        self.transforms = inner.transforms
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def __call__(self, data: dict) -> dict | None:
        """Run the transforms.

        Raises:
            DamagedImageError: A file cannot be read.
            LabelMapError: A label map holds something else.
        """
        files = [data.get(key) for key in ("img_path", "seg_map_path")]
        found: dict | None = data
        for step in self.transforms:
            try:
                found = step(found)
            except DataError:
                raise
            except Exception as error:
                for path in files:
                    stop_if_damaged(step, path, error)
                raise
            if found is None:
                return None
            if reads_label_maps(step):
                check_label_map(found, self.num_classes, self.ignore_index)
        return found


def guard_dataset(dataset: Any) -> None:
    """Check a dataset, and let its pipeline say which file it cannot read.

    Args:
        dataset: A built dataset, in any wrappers; edited in place. Those inside of our
            wrappers say it already.

    Raises:
        DataError: It has no image, or its categories do not fit its classes.
    """
    for leaf in _leaves(dataset):
        say_left_out(leaf)
        pipeline = getattr(leaf, "pipeline", None)
        if not isinstance(pipeline, Compose) or isinstance(pipeline, GuardedPipeline):
            continue
        if not len(leaf):
            settings = dict(vars(leaf), metainfo=leaf.metainfo)
            problem = coco_problem(settings)
            raise DataError(problem or _no_images(type(leaf).__name__, settings))
        check_categories(leaf)
        classes = getattr(leaf, "metainfo", {}).get("classes")
        leaf.pipeline = GuardedPipeline(
            pipeline,
            len(classes) if classes else None,
            getattr(leaf, "ignore_index", 255),
        )


def build_guarded(build: Callable[[], Any], config: Mapping[str, Any]) -> Any:
    """Build a data loader or a dataset with ``build``, and guard the dataset.

    Args:
        build: Does it.
        config: Of what it builds.

    Raises:
        DataError: Its files are not what they should be.
    """
    try:
        built = build()
    except DataError:
        raise
    except Exception as error:
        problem = _problem(config.get("dataset", config), error)
        if problem is None:
            raise
        raise DataError(problem) from error
    guard_dataset(getattr(built, "dataset", built))
    return built


def _problem(config: Any, error: Exception) -> str | None:
    if not isinstance(config, Mapping):
        return None
    for inner in (config.get("dataset"), *(config.get("datasets") or ())):
        if inner and (problem := _problem(inner, error)):
            return problem
    if "dataset" in config or "datasets" in config:
        return None
    coco = "CocoDataset" in names_of(config, DATASETS)
    if coco and (problem := coco_problem(config)):
        return problem
    # mmpretrain's own words, and numpy's where mmengine packs an empty list.
    for words in ("Found 0 files in subfolders of", "need at least one array"):
        if words in str(error):
            return _no_images(config.get("type"), config)
    return None


def _no_images(name: Any, settings: Mapping[str, Any]) -> str:
    where = settings.get("ann_file") or settings.get("data_prefix") or "all of it"
    root = settings.get("data_root") or "the current folder"
    return (
        f"{name}: expected images in {root} ({where}), got none; check data_root, "
        "data_prefix, ann_file and the suffixes, and filter_cfg and indices, which may "
        "have taken all away."
    )


def _leaves(dataset: Any) -> Iterator[Any]:
    from lbbt_mm.datasets.wrapper import DatasetWrapper

    if isinstance(dataset, DatasetWrapper):
        return
    parts = getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]
    if parts == [None]:
        yield dataset
        return
    for part in parts:
        yield from _leaves(part)
