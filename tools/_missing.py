"""Images and weights that are not on this machine: what to download, and where to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from lbbt_mm.evaluation.checkpoint_config import find_dicts
from lbbt_mm.registry import names_of

_PASCAL = (
    "VOCtrainval_03-May-2010.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2010, "
    "with the annotations of Pascal Context converted as "
    "https://github.com/open-mmlab/mmsegmentation/blob/main/docs/en/user_guides/"
    "2_dataset_prepare.md#pascal-context describes"
)
# Type of the dataset -> a file or folder that only the published one has, and what to
# download. Anybody's own images may have the type too.
_PUBLISHED = {
    "CocoDataset": (
        "2017",
        "train2017.zip, val2017.zip and annotations_trainval2017.zip of "
        "https://cocodataset.org/#download",
    ),
    "ADE20KDataset": (
        "ADEChallengeData2016",
        "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
    ),
    "PascalContextDataset": ("VOC2010", _PASCAL),
    "PascalContextDataset59": ("VOC2010", _PASCAL),
}
_SCENES = "fashion_scenes"


def missing_images(cfg: Mapping[str, Any], *loaders: str) -> str | None:
    """Look for the images of mmdet's and mmseg's data sets before anything is built.

    Args:
        cfg: A config.
        loaders: Which of its data loaders, for example ``'train_dataloader'``.

    Returns:
        What is missing, what to download and where to put it, in one sentence; None if
        all is there, or a data set is of another type.
    """
    names, scope = {*_PUBLISHED, "BaseSegDataset"}, cfg.get("default_scope")
    for loader in loaders:
        for dataset in find_dicts(cfg.get(loader) or {}, names, DATASETS, scope):
            for path in _paths(dataset):
                if not path.exists():
                    return _sentence(loader, dataset, path, scope)
    return None


def _paths(dataset: Mapping[str, Any]) -> Iterator[Path]:
    """List what a data set needs: its list of images, and their folders."""
    root = str(dataset.get("data_root") or "")
    if dataset.get("backend_args") or "://" in root:  # not on this machine at all
        return
    prefixes = (dataset.get("data_prefix") or {}).values()
    for part in filter(None, (dataset.get("ann_file"), *prefixes)):
        yield Path(root, part)


def _sentence(
    loader: str, dataset: Mapping[str, Any], path: Path, scope: str | None
) -> str:
    root = dataset.get("data_root")
    names = names_of(dataset, DATASETS, scope)
    published = (_PUBLISHED[name] for name in _PUBLISHED if name in names)
    mark, download = next(published, ("", None))
    what = f"{loader} expects {path}, which does not exist (from {Path.cwd()}): "
    if Path(str(root)).name == _SCENES:
        return what + (
            "make these images with projects/fashion_scenes/make_scenes.py (see "
            f"projects/fashion_scenes/README.md), or set {loader}.dataset.data_root."
        )
    if download is None or mark not in str(path):
        return what + f"make or copy these images, or set {loader}.dataset.data_root."
    return what + (
        f"download {download}, and unpack or link it so that {path} is there, or set "
        f"data_root of each data loader (and the evaluators' ann_file) to where it "
        f"lies instead of {root}."
    )
