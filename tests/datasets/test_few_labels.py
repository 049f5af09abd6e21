"""FewLabelDataset: which images it keeps, and that it is a dataset like any other."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

from lbbt_mm.datasets import FewLabelDataset, IdxDataset, MNIST5k, RandomLabelDataset
from lbbt_mm.datasets.few_labels import choose_labelled
from lbbt_mm.probe.setup import probe_dataloaders

# Sorted by class and uneven: 50, 30, 15 and 5 images.
UNEVEN = np.repeat(np.arange(4), [50, 30, 15, 5])


class Toy(BaseDataset):
    """``labels[i]`` is the class of image i; None: it has none."""

    def __init__(self, labels, **kwargs):
        self.labels = list(labels)
        super().__init__(**kwargs)

    def load_data_list(self):
        return [
            dict(name=i) | ({} if y is None else dict(gt_label=y))
            for i, y in enumerate(self.labels)
        ]


# ------------------------------------------------------------------------ the choice


def test_the_choice_is_frozen():
    # If this fails, every few-label number ever published would change its images.
    labels = np.arange(12) % 3
    assert choose_labelled(labels, 0.5, 0).tolist() == [0, 1, 8, 9, 10, 11]
    assert choose_labelled(labels, 4, 1).tolist() == [0, 1, 3, 5]


@pytest.mark.parametrize(
    "amount, counts",
    [
        (1.0, [50, 30, 15, 5]),
        (0.2, [10, 6, 3, 1]),
        (0.01, [1, 1, 1, 1]),
        (100, [50, 30, 15, 5]),
        (4, [1, 1, 1, 1]),
        (40, [12, 12, 11, 5]),  # 5 of the small one, 35 over three
        (12, [3, 3, 3, 3]),
    ],
)
@pytest.mark.parametrize("seed", [0, 3])
def test_class_balance(amount, counts, seed):
    chosen = choose_labelled(UNEVEN, amount, seed)
    got = np.bincount(UNEVEN[chosen], minlength=4)
    # Which class gets one more is drawn; how many do is not.
    assert sorted(got) == sorted(counts) if amount == 40 else got.tolist() == counts
    assert (np.diff(chosen) > 0).all(), "ascending, each image once"


@pytest.mark.parametrize(
    "amounts", [(0.01, 0.1, 0.3, 0.5, 1.0), (4, 5, 6, 7, 30, 50, 99, 100)]
)
def test_smaller_choices_are_among_larger_ones(amounts):
    previous = set()
    for amount in amounts:
        chosen = set(choose_labelled(UNEVEN, amount, 7).tolist())
        assert previous < chosen
        previous = chosen


def test_the_seed_matters_and_so_do_the_labels_only():
    reference = choose_labelled(UNEVEN, 0.2, 0)
    assert choose_labelled(UNEVEN, 0.2, 1).tolist() != reference.tolist()
    np.random.seed(5)
    assert choose_labelled(UNEVEN.copy(), 0.2, 0).tolist() == reference.tolist()
    # Names of classes do not matter, nor gaps between them.
    assert choose_labelled(UNEVEN * 7, 0.2, 0).tolist() == reference.tolist()
    # Who gets one more in the last round is not always the first class.
    extra = {
        int(np.bincount(np.arange(20)[choose_labelled(np.arange(20) % 4, 5, s)] % 4)
            .argmax())
        for s in range(20)
    }  # fmt: skip
    assert extra == {0, 1, 2, 3}


def test_within_a_class_every_image_is_as_likely():
    labels = np.repeat([0, 1], 10)
    times = np.zeros(20)
    for seed in range(400):
        times[choose_labelled(labels, 0.3, seed)] += 1
    # 120 expected, standard deviation 9.2
    assert 80 < times.min() and times.max() < 160


# ----------------------------------------------------------------------- the wrapper


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("as_config", [True, False])
def test_it_holds_the_chosen_images_with_their_labels(serialize, as_config):
    config = dict(labels=UNEVEN.tolist(), serialize_data=serialize)
    inner = dict(type=Toy, **config) if as_config else Toy(**config)
    dataset = FewLabelDataset(inner, labels=0.2, seed=3)
    kept = choose_labelled(UNEVEN, 0.2, 3)
    assert len(dataset) == len(kept) == 20
    for i, source in enumerate(kept):
        expected = dict(name=source, gt_label=UNEVEN[source], sample_idx=i)
        assert dataset[i] == dataset.get_data_info(i) == expected
        assert dataset.get_cat_ids(i) == [UNEVEN[source]]
    np.testing.assert_array_equal(dataset.get_gt_labels(), UNEVEN[kept])
    np.testing.assert_array_equal(dataset.labelled, kept)
    assert dataset[-1] == dataset[19]
    with pytest.raises(IndexError, match="FewLabelDataset: .* below 20, got 20"):
        dataset[20]
    with pytest.raises(ValueError, match="read-only"):
        dataset.labelled[0] = 1
    with pytest.raises(NotImplementedError, match="use get_subset"):
        dataset.get_subset_(3)


def test_a_broken_image_is_replaced_by_another_of_the_few():
    def broken(info):
        return None if info["sample_idx"] % 2 else info

    parts = [Toy(UNEVEN, pipeline=[broken]), Toy(UNEVEN[::-1], pipeline=[broken])]
    dataset = FewLabelDataset(ConcatDataset(parts), labels=0.1)
    for _ in range(20):  # the replacement is drawn
        for i in range(len(dataset)):
            data = dataset[i]
            assert data["sample_idx"] % 2 == 0
            assert data["gt_label"] == dataset.get_gt_labels()[data["sample_idx"]]


def test_reading_an_image_that_is_not_among_the_few_is_refused():
    class Mixes(Toy):
        def prepare_data(self, idx):
            return [super(Mixes, self).prepare_data(i) for i in range(len(self))]

    with pytest.raises(RuntimeError, match="read image 0, which is not among"):
        FewLabelDataset(Mixes(UNEVEN), labels=4)[0]


def test_idle_until_needed_then_once(monkeypatch):
    loads = []
    load = Toy.load_data_list
    monkeypatch.setattr(
        Toy, "load_data_list", lambda self: loads.append(1) or load(self)
    )
    dataset = FewLabelDataset(
        Toy(UNEVEN, lazy_init=True, metainfo=dict(classes="abcd"))
    )
    assert dataset.metainfo["few_labels"] == dict(labels=0.01, seed=0)
    assert dataset.CLASSES == tuple("abcd") and not loads
    dataset.full_init()
    kept = dataset.labelled
    dataset.full_init()
    assert loads == [1] and dataset.labelled is kept and len(dataset) == 4
    assert repr(dataset) == "FewLabelDataset(Toy, labels=0.01, seed=0)"


def test_same_images_in_workers_and_after_a_pickle():
    dataset = FewLabelDataset(Toy(UNEVEN), labels=30, seed=2)
    for seed in (0, 1):
        torch.manual_seed(seed)
        loader = DataLoader(dataset, 8, num_workers=2, shuffle=True, collate_fn=list)
        names = sorted(info["name"] for batch in loader for info in batch)
        assert names == dataset.labelled.tolist()
    copy = pickle.loads(pickle.dumps(dataset))
    assert [copy[i] for i in range(30)] == [dataset[i] for i in range(30)]


def test_other_wrappers_go_around_it_and_it_goes_around_parts():
    inner = ConcatDataset([Toy(UNEVEN), Toy(UNEVEN)])
    few = FewLabelDataset(inner, labels=0.1)
    assert len(few) == sum([10, 6, 3, 1])
    config = dict(type=FewLabelDataset, dataset=inner, labels=0.1)
    assert RepeatDataset(config, times=3)[41] == few[1]
    # A bridge on the few images: labels are drawn for these, and travel with them.
    bridge = RandomLabelDataset(few, 10, ratio=0.5, seed=1)
    for i in range(20):
        info = bridge[i]
        assert info["name"] == few[i]["name"] and info["sample_idx"] == i
        assert info["gt_label"] == bridge.random_labels[i]
        assert info["true_label"] == few[i]["gt_label"]
    with pytest.raises(TypeError, match=r"RandomLabelDataset\(FewLabelDataset\(\.\.\."):
        FewLabelDataset(RandomLabelDataset(Toy(UNEVEN), 10, ratio=1))


# ------------------------------------------------------------- around real datasets


def test_around_idx_files_and_mnist(tmp_path, write_idx_images):
    write_idx_images(tmp_path, 100)
    for inner in (IdxDataset(str(tmp_path)), MNIST5k(indices=200)):
        few = FewLabelDataset(inner, labels=20)
        assert np.bincount(few.get_gt_labels()).tolist() == [2] * 10
        assert few[0]["img"].shape == (28, 28, 1)


def test_around_mmpretrains_datasets(tmp_path, monkeypatch):
    import mmpretrain.datasets

    for i in range(12):
        path = tmp_path / "folder" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), i, np.uint8)).save(path)
    # CIFAR-10 as it lies on disk, except that the checksums are not the real ones.
    cifar = tmp_path / "cifar" / "cifar-10-batches-py"
    cifar.mkdir(parents=True)
    for b in range(5):
        batch = dict(data=np.zeros((20, 3072), np.uint8), labels=[*range(10)] * 2)
        (cifar / f"data_batch_{b + 1}").write_bytes(pickle.dumps(batch))
    monkeypatch.setattr(mmpretrain.datasets.CIFAR10, "_check_integrity", lambda _: True)
    steps = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    folder = dict(type="CustomDataset", data_root=str(tmp_path / "folder"))
    cifar10 = dict(type="CIFAR10", data_root=str(tmp_path / "cifar"), download=False)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        for inner, size, counts in (
            (dict(folder, pipeline=steps), 8, [2] * 2),
            (dict(cifar10, pipeline=steps[1:]), 32, [2] * 10),
        ):
            config = dict(
                type="lbbt_mm.FewLabelDataset", dataset=inner, labels=sum(counts)
            )
            few = ROOT.build(config)
            assert np.bincount(few.get_gt_labels()).tolist() == counts
            for i in range(len(few)):
                sample = few[i]
                assert tuple(sample["inputs"].shape) == (3, size, size)
                label = sample["data_samples"].gt_label.item()
                assert label == few.get_gt_labels()[i]
            assert len(few.CLASSES) == len(counts)


def test_the_probe_takes_off_random_labels_and_keeps_the_few():
    few = dict(
        type="lbbt_mm.FewLabelDataset",
        labels=100,
        dataset=dict(type="lbbt_mm.MNIST5k", pipeline=[dict(type="Train")]),
    )
    bridge = dict(type="lbbt_mm.RandomLabelDataset", dataset=few, num_classes=10)
    test = dict(type="lbbt_mm.MNIST5k", pipeline=[dict(type="Test")])
    loader = dict(batch_size=4, num_workers=0)
    for dataset in (few, bridge):
        cfg = Config(
            dict(
                train_dataloader=dict(loader, dataset=dataset),
                test_dataloader=dict(loader, dataset=test),
            )
        )
        probed = probe_dataloaders(cfg)["train"]["dataset"]
        assert probed["type"] == "lbbt_mm.FewLabelDataset" and probed["labels"] == 100
        assert probed["dataset"]["pipeline"] == [dict(type="Test")]


# -------------------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    "labels, kwargs, error, words",
    [
        ("ok", dict(labels=0), ValueError, "got 0; write 1 % as 0.01"),
        ("ok", dict(labels=-3), ValueError, "got -3"),
        ("ok", dict(labels=0.0), ValueError, "got 0.0"),
        ("ok", dict(labels=1.5), ValueError, "up to 1.0.*got 1.5"),
        ("ok", dict(labels=float("nan")), ValueError, "got nan"),
        ("ok", dict(labels=True), TypeError, "got True"),
        ("ok", dict(labels="1%"), TypeError, "got '1%'"),
        ("ok", dict(labels=None), TypeError, "got None"),
        ("ok", dict(labels=3), ValueError, "from 4, one of each.* to 100, .*got 3;"),
        ("ok", dict(labels=1), ValueError, "got 1; all of them are labels=1.0;"),
        ("ok", dict(labels=101), ValueError, "got 101"),
        ("ok", dict(seed=-1), ValueError, "FewLabelDataset: .*seed of 0 or more"),
        ("ok", dict(seed=None), TypeError, "seed of 0 or more, got None"),
        ([0, None], {}, ValueError, "FewLabelDataset: expected a `gt_label`.*image 1"),
        ([0, [1, 2]], {}, TypeError, "one class index per image"),
        ([0, -1], {}, ValueError, "got -1 for image 1; use a dataset with"),
        ([5] * 9, {}, ValueError, "two classes, got 9 of class 5 only"),
        ([], {}, ValueError, "FewLabelDataset: expected at least one image"),
    ],
)
def test_errors_say_expected_got_and_what_to_do(labels, kwargs, error, words):
    labels = UNEVEN.tolist() if labels == "ok" else labels
    inner = Toy(labels, serialize_data=bool(labels))
    with pytest.raises(error, match=words) as caught:
        FewLabelDataset(inner, **kwargs)
    assert "\n" not in str(caught.value)
