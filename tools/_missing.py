"""Images and checkpoints that are not on this machine: how to get or make them."""

from __future__ import annotations

import glob
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from _datasets import DATASETS as DATASETS_TO_FETCH
from mmengine.registry import DATASETS

from lbbt_mm.config.names import READ, flat
from lbbt_mm.models.checkpoint_config import find_dicts
from lbbt_mm.registry import names_of

_PASCAL = (
    "VOCtrainval_03-May-2010.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2010, "
    "with the annotations of Pascal Context converted as "
    "https://github.com/open-mmlab/mmsegmentation/blob/main/docs/en/user_guides/"
    "2_dataset_prepare.md#pascal-context describes"
)
# Type of the dataset -> a part of the path that only the published one has, and what to
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
    "CIFAR100": ("", "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"),
    "CIFAR10": ("", "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"),
    "FashionMNIST": (
        "",
        "the four idx files of https://github.com/zalandoresearch/fashion-mnist",
    ),
    "MNIST": (
        "",
        "the four idx files of https://ossci-datasets.s3.amazonaws.com/mnist",
    ),
    "IdxDataset": (
        "fashion-mnist",
        "the four idx files of https://github.com/zalandoresearch/fashion-mnist (the "
        "Debian package dataset-fashion-mnist has them too)",
    ),
    "TinyImageNet": ("", "http://cs231n.stanford.edu/tiny-imagenet-200.zip"),
    "ImageNet": (
        "imagenet",
        "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar of "
        "https://image-net.org/download (a folder for each class)",
    ),
    "ConversationDataset": (
        "llava",
        "the annotations and images that "
        "https://github.com/haotian-liu/LLaVA#train lists",
    ),
}
_OTHERS = {"BaseSegDataset", "CustomDataset", "VQADataset"}
_DOWNLOAD_THEMSELVES = {"CIFAR10", "MNIST"}  # and their subclasses
# Name of a folder -> what of this repository makes it.
_MADE = {
    "fashion_scenes": "projects/fashion_scenes/make_scenes.py (see "
    "projects/fashion_scenes/README.md)",
    "plain_scenes": "projects/fashion_scenes/make_scenes.py --plain (see "
    "projects/fashion_scenes/configs/_base_/datasets/plain-scenes_segmentation.py)",
    "plain_questions": "projects/fashion_scenes/make_questions.py (see "
    "projects/fashion_scenes/configs/_base_/datasets/plain-questions.py)",
    "small_gpt2": "projects/small_gpt2/pretrain.py (see projects/small_gpt2/README.md)",
}
_REPO = Path(__file__).resolve().parent.parent


def missing_images(cfg: Mapping[str, Any], *loaders: str) -> str | None:
    """Look for the images of a config's data sets before anything is built.

    Returns:
        What is missing, what to download or make and where to put it, in one sentence;
        None if all is there or the data set downloads it, or is of another type.
    """
    names, scope = {*_PUBLISHED, *_OTHERS}, cfg.get("default_scope")
    for loader in loaders:
        for dataset in find_dicts(cfg.get(loader) or {}, names, DATASETS, scope):
            kinds = names_of(dataset, DATASETS, scope)
            for path in _paths(dataset, kinds):
                if not path.exists():
                    return _sentence(loader, dataset, path, kinds)
    return None


def _paths(dataset: Mapping[str, Any], kinds: set[str]) -> Iterator[Path]:
    """List what a data set needs: its list of images, and their folders."""
    root = str(dataset.get("data_root") or "")
    if dataset.get("backend_args") or "://" in root:  # not on this machine at all
        return
    folder, prefix = Path(root).expanduser(), dataset.get("data_prefix") or {}
    prefixes = prefix.values() if isinstance(prefix, Mapping) else [prefix]
    given = [str(part) for part in prefixes if part]
    if any("://" in part for part in given):
        return
    if kinds & _DOWNLOAD_THEMSELVES:
        name = "train-images-idx3-ubyte"
        if "CIFAR10" in kinds:
            name = "cifar-10-batches-py"
        if "CIFAR100" in kinds:
            name = "cifar-100-python"
        yield folder.joinpath(*given, name)
    elif "TinyImageNet" in kinds:
        yield folder / "wnids.txt"
    elif "IdxDataset" in kinds:
        stem = "t10k" if dataset.get("split") == "test" else "train"
        if dataset.get("images"):
            yield folder / dataset["images"]
        elif not [*folder.glob(f"{stem}-images?idx3-ubyte*")]:
            yield folder / f"{stem}-images-idx3-ubyte.gz"
    else:
        if "ImageNet" in kinds and dataset.get("split"):
            given = given or [dataset["split"]]
        listed = [dataset["ann_file"]] if dataset.get("ann_file") else []
        for part in [*listed, *given] or [""] * bool(root):
            yield folder / part


def _sentence(
    loader: str, dataset: Mapping[str, Any], path: Path, kinds: set[str]
) -> str | None:
    root = dataset.get("data_root")
    published = (_PUBLISHED[name] for name in _PUBLISHED if name in kinds)
    mark, download = next(published, ("", None))
    what = f"{loader} expects {path}, which does not exist (from {Path.cwd()}): "
    made = [_MADE[part] for part in path.parts if part in _MADE]
    if made:
        return what + (
            f"make these images with {made[0]}, or set {loader}.dataset.data_root."
        )
    if download is None or mark not in str(path):
        return what + f"make or copy these images, or set {loader}.dataset.data_root."
    if kinds & _DOWNLOAD_THEMSELVES and dataset.get("download", True):
        reason = _unreachable(download)
        if reason is None:
            return None
        download += f" elsewhere (from here: {reason})"
    command = _command(kinds, Path(str(root or "")))
    return what + (
        f"{command}download {download}, and unpack or link it so that {path} is "
        f"there, or set data_root of each data loader (and the evaluators' ann_file) "
        f"to where it lies instead of {root}."
    )


# Type of the dataset -> its name for tools/prepare_data.py.
_NAMES = {
    "CocoDataset": "coco",
    "ADE20KDataset": "ade20k",
    "PascalContextDataset": "pascal-context",
    "PascalContextDataset59": "pascal-context",
    "CIFAR100": "cifar100",
    "CIFAR10": "cifar10",
    "FashionMNIST": "fashion-mnist",
    "MNIST": "mnist",
    "IdxDataset": "fashion-mnist",
    "TinyImageNet": "tiny-imagenet",
}


def _command(kinds: set[str], root: Path) -> str:
    """Name the command that gets the data, if it puts it where the config looks."""
    name = next((_NAMES[kind] for kind in _NAMES if kind in kinds), None)
    if name is None:
        return ""
    top = Path(DATASETS_TO_FETCH[name].places[0].target).parts[0]
    if top not in root.parts:
        return ""
    above = Path(*root.parts[: root.parts.index(top)])
    elsewhere = f" --root {above}" if above != Path("data") else ""
    return f"python tools/prepare_data.py {name}{elsewhere} gets it; or "


def _unreachable(source: str) -> str | None:
    """Say why a data set will not be able to download itself, if so."""
    url = next(word for word in source.split() if "://" in word)
    try:
        asked = urllib.request.Request(url, method="HEAD")
        with urllib.request.urlopen(asked, timeout=10):
            return None
    except HTTPError as error:  # somebody answers
        return None if error.code < 500 else str(error)
    except OSError as error:
        return str(error)


def missing_prerequisite(cfg: Mapping[str, Any]) -> str | None:
    """Say which language model or checkpoint is missing, and the command for it."""
    for key, value in flat({k: v for k, v in cfg.items() if k in READ}):
        if key.rpartition(".")[2] not in ("language_model", "checkpoint", "load_from"):
            continue
        if not isinstance(value, str) or "://" in value or Path(value).exists():
            continue
        what = f"{key} expects {value}, which does not exist (from {Path.cwd()}): "
        for part in Path(value).parts:
            if part in _MADE:
                return what + f"make it with {_MADE[part]}, or name another."
        run = Path(value).parent.name
        name = f"configs/**/{glob.escape(run or '-')}.py"
        made = sorted([*_REPO.glob(name), *_REPO.glob(f"projects/*/{name}")])
        if made:
            return what + (
                f"train it first, with tools/train.py {made[0].relative_to(_REPO)}, or "
                "name another."
            )
    return None
