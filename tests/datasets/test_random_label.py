import pickle
import random
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS as ROOT
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader

from lbbt_mm.datasets import RandomLabelDataset
from lbbt_mm.datasets.arguments import private_stream
from lbbt_mm.datasets.random_label import redraw_labels

CLASSES = tuple("abcdefghij")


class Toy(BaseDataset):
    """``labels[i]`` is the true label of image i; None: there is none."""

    def __init__(self, labels, **kwargs):
        self.labels = labels
        super().__init__(**{"metainfo": dict(classes=CLASSES), **kwargs})

    def load_data_list(self):
        return [
            dict(name=f"image {i}") | ({} if y is None else dict(gt_label=y))
            for i, y in enumerate(self.labels)
        ]


def sorted_labels(n, num_classes=10):
    return [i * num_classes // n for i in range(n)]


def keep(info):
    return info


# -------------------------------------------------------------------- the label rule


def test_labels_are_frozen():
    # If this fails, every resumed run in the world would silently change its labels.
    labels, redrawn = redraw_labels(12, 10, 0.5, seed=0, true_labels=np.zeros(12, int))
    assert labels.tolist() == [4, 0, 9, 5, 0, 0, 0, 9, 3, 0, 0, 0]
    assert redrawn.astype(int).tolist() == [1, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0]
    big, _ = redraw_labels(8, 1000, 1, seed=2**40 + 1)
    assert big.tolist() == [934, 979, 777, 939, 667, 378, 62, 760]
    others, _ = redraw_labels(8, 10, 1, 3, np.arange(8), exclude_true_label=True)
    assert others.tolist() == [2, 5, 9, 9, 5, 9, 1, 3]


def test_without_a_choice_of_images_none_are_shuffled(monkeypatch):
    purposes = []  # of the streams; the order, 1, is the slow one

    def counted(purpose, *args):
        purposes.append(purpose)
        return private_stream(purpose, *args)

    monkeypatch.setattr("lbbt_mm.datasets.random_label.private_stream", counted)
    assert redraw_labels(12, 10, 1)[1].all()
    assert not redraw_labels(12, 10, 0, true_labels=np.zeros(12, int))[1].any()
    assert purposes == [0, 0]
    redraw_labels(12, 10, 0.5, true_labels=np.zeros(12, int))
    assert purposes == [0, 0, 1, 0]


def test_law_neither_reads_nor_changes_global_random_state():
    results = []
    for seed in (1, 2):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        before = (
            random.getstate(),
            np.random.get_state()[1].copy(),
            torch.get_rng_state(),
        )
        dataset = RandomLabelDataset(Toy(sorted_labels(50)), 10, ratio=0.5, seed=4)
        results.append((dataset.random_labels, [dataset[i] for i in range(50)]))
        assert random.getstate() == before[0]
        np.testing.assert_array_equal(np.random.get_state()[1], before[1])
        assert torch.equal(torch.get_rng_state(), before[2])
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


@pytest.mark.parametrize("exclude", [False, True])
def test_exact_number_nested_and_same_label_at_every_ratio(exclude):
    n, truth = 1003, np.random.RandomState(0).randint(0, 10, 1003)
    full, _ = redraw_labels(n, 10, 1, 7, truth, exclude)
    previous = np.zeros(n, bool)
    for ratio in (0, 0.0004, 0.15, 0.3, 0.5, 0.999, 1):
        labels, redrawn = redraw_labels(n, 10, ratio, 7, truth, exclude)
        assert redrawn.sum() == round(ratio * n)
        assert (redrawn >= previous).all(), "a smaller ratio redraws a subset"
        np.testing.assert_array_equal(labels[redrawn], full[redrawn])
        np.testing.assert_array_equal(labels[~redrawn], truth[~redrawn])
        previous = redrawn


def test_everything_the_law_depends_on_matters():
    reference, _ = redraw_labels(1000, 10, 1, seed=0)
    for n, num_classes, seed in [(1001, 10, 0), (1000, 11, 0), (1000, 10, 1)]:
        other, _ = redraw_labels(n, num_classes, 1, seed)
        # Independent labels agree on about 1 in 10 images, standard deviation 1 %.
        assert abs((other[:1000] == reference).mean() - 0.1) < 0.05
    # A seed of more than 32 bits is not cut off.
    assert (redraw_labels(1000, 10, 1, 2**32)[0] != reference).any()


def chi_square(counts, expected):
    return float(((counts - expected) ** 2 / expected).sum())


# Quantiles 1e-5 and 1 - 1e-5 of the chi-square distribution with C - 1 degrees of
# freedom. Too even is a fault too: labels dealt out in turn would score 0.
@pytest.mark.parametrize(
    "num_classes, low, high", [(10, 0.386, 39.3), (1000, 819.7, 1201.2)]
)
@pytest.mark.parametrize("seed", range(5))
def test_classes_are_uniform(num_classes, low, high, seed):
    n = 50_000
    labels, _ = redraw_labels(n, num_classes, 1, seed)
    counts = np.bincount(labels, minlength=num_classes)
    assert low < chi_square(counts, n / num_classes) < high


def test_labels_are_independent_of_truth_neighbour_and_choice():
    n = 50_000
    truth = np.arange(n) % 10
    labels, _ = redraw_labels(n, 10, 1, seed=1)
    _, redrawn = redraw_labels(n, 10, 0.5, 1, truth)
    # 99 degrees of freedom (the true counts are fixed): quantile 1 - 1e-5 is 170.
    for other in (truth, np.roll(labels, 1)):
        table = np.bincount(other * 10 + labels, minlength=100)
        assert chi_square(table, n / 100) < 170
    chosen = np.bincount(labels[redrawn], minlength=10)
    assert chi_square(chosen, n / 20) < 39.3


def test_fraction_that_ends_wrong():
    # docs/random_labels.md: ratio * (1 - 1/C) when uniform, ratio under the other rule.
    n, truth = 100_000, np.arange(100_000) % 10
    uniform, _ = redraw_labels(n, 10, 0.15, 0, truth)
    assert (uniform != truth).mean() == pytest.approx(0.135, abs=0.002)
    others, _ = redraw_labels(n, 10, 0.15, 0, truth, exclude_true_label=True)
    assert (others != truth).mean() == 0.15


def test_other_law_is_uniform_over_the_other_classes():
    n = 90_000
    truth = np.arange(n) % 10
    labels, _ = redraw_labels(n, 10, 1, 0, truth, exclude_true_label=True)
    table = np.bincount(truth * 10 + labels, minlength=100).reshape(10, 10)
    assert (np.diag(table) == 0).all()
    off_diagonal = table[~np.eye(10, dtype=bool)]
    # 10 true classes, 8 degrees of freedom each: quantile 1 - 1e-5 of 80 is 146.
    assert chi_square(off_diagonal, n / 90) < 146


# ----------------------------------------------------------- why below chance: memory


def nearest_neighbour_accuracy(exclude, seed):
    """Memorise random labels of overlapping clusters, test on the true classes.

    Returns the accuracy, and that of the same memory with the true labels.
    """
    rng = np.random.RandomState(seed)
    centres = 2.0 * rng.randn(10, 4)
    classes = np.arange(3000) % 10
    train, test = (centres[classes] + rng.randn(3000, 4) for _ in range(2))
    dataset = RandomLabelDataset(
        Toy(classes.tolist()), 10, ratio=1, seed=seed, exclude_true_label=exclude
    )
    nearest = torch.cdist(torch.tensor(test), torch.tensor(train)).argmin(1).numpy()
    random_accuracy = (dataset.random_labels[nearest] == classes).mean()
    return random_accuracy, (classes[nearest] == classes).mean()


def test_memorising_falls_below_chance_only_if_the_true_label_is_excluded():
    # An image gets the label of its nearest neighbour, which has the image's own
    # class with probability a. Uniform: right by chance, 1/10. Excluding the truth:
    # never right in that case, 1 in 9 in the other, (1 - a) / 9.
    for seed in range(3):
        uniform, _ = nearest_neighbour_accuracy(False, seed)
        assert uniform == pytest.approx(0.1, abs=0.025)  # 4 standard deviations
        excluded, a = nearest_neighbour_accuracy(True, seed)
        assert 0.5 < a < 0.97, "the toy has classes, and they overlap"
        assert excluded == pytest.approx((1 - a) / 9, abs=0.015)
        assert excluded < 0.07


def test_learning_the_class_never_gives_the_class_if_it_is_excluded():
    # With enough images a model learns P(label | class); its best guess is never the
    # class itself under the authors' rule, and is it by chance under the uniform one.
    classes = np.arange(20_000) % 10
    hits = {}
    for exclude in (False, True):
        hits[exclude] = 0
        for seed in range(50):
            labels, _ = redraw_labels(20_000, 10, 1, seed, classes, exclude)
            table = np.bincount(classes * 10 + labels, minlength=100).reshape(10, 10)
            hits[exclude] += (table.argmax(1) == np.arange(10)).sum()
    assert hits[True] == 0
    assert 20 < hits[False] < 80  # of 500; 50 expected, standard deviation 6.7


def test_documented_lines_run_and_give_the_documented_numbers(tmp_path):
    page = Path(__file__).parents[2] / "docs" / "random_labels.md"
    plug_in, folder, measure, pack = re.findall(
        r"```python\n(.*?)```", page.read_text(), re.S
    )
    result = {}
    exec(measure, result)
    assert {name: round(value, 3) for name, value in result["accuracy"].items()} == {
        "true": 0.932,
        "exclude=False": 0.086,
        "exclude=True": 0.01,
    }
    exec(folder, {}), exec(pack, {})

    base = "train_dataloader = dict(dataset=dict(type='lbbt_mm.MNIST5k', indices=20))"
    (tmp_path / "my_config.py").write_text(base)
    (tmp_path / "bridge.py").write_text(plug_in)
    config = Config.fromfile(tmp_path / "bridge.py")
    dataset = ROOT.build(config.train_dataloader.dataset)
    np.testing.assert_array_equal(dataset.random_labels, redraw_labels(20, 10, 1)[0])


# ------------------------------------------------------------------------ the wrapper


@pytest.mark.parametrize("serialize", [True, False])
@pytest.mark.parametrize("as_config", [True, False])
def test_pipeline_sees_the_random_label(serialize, as_config):
    config = dict(labels=sorted_labels(40), serialize_data=serialize, pipeline=[keep])
    inner = dict(type=Toy, **config) if as_config else Toy(**config)
    dataset = RandomLabelDataset(inner, 10, ratio=0.5, seed=3)
    labels, redrawn = redraw_labels(40, 10, 0.5, 3, np.array(sorted_labels(40)))
    assert len(dataset) == 40
    for i in range(40):
        expected = dict(
            name=f"image {i}",
            sample_idx=i,
            gt_label=labels[i],
            true_label=sorted_labels(40)[i],
            is_random_label=redrawn[i],
        )
        assert dataset[i] == dataset.get_data_info(i) == expected
        assert type(dataset[i]["gt_label"]) is int
        assert dataset.get_cat_ids(i) == [labels[i]]
    np.testing.assert_array_equal(dataset.get_gt_labels(), labels)
    np.testing.assert_array_equal(dataset.random_labels, labels)
    np.testing.assert_array_equal(dataset.is_random_label, redrawn)
    assert dataset[-1] == dataset[39]
    with pytest.raises(IndexError, match="below 40, got 40"):
        dataset[40]
    assert len(list(dataset)) == 40
    with pytest.raises(ValueError, match="read-only"):
        dataset.random_labels[0] = 1


def test_uniform_law_never_needs_nor_follows_true_labels():
    variants = {
        "true labels": sorted_labels(60),
        "other true labels": sorted_labels(60)[::-1],
        "none": [None] * 60,
        "outside 0..9": [1000 + i for i in range(60)],
        "several per image": [[1, 2]] * 60,
        "one class": [0] * 60,
    }
    drawn = {
        name: RandomLabelDataset(Toy(labels), 10, ratio=1, seed=5)
        for name, labels in variants.items()
    }
    for dataset in drawn.values():
        np.testing.assert_array_equal(
            dataset.random_labels, redraw_labels(60, 10, 1, 5)[0]
        )
        assert dataset[7]["gt_label"] == dataset.random_labels[7]
    assert "true_label" not in drawn["none"][0]
    assert drawn["several per image"][0]["true_label"] == [1, 2]


def test_uniform_law_does_not_even_look(monkeypatch):
    inner = Toy(sorted_labels(20))
    monkeypatch.setattr(Toy, "get_data_info", lambda *_: pytest.fail("looked"))
    RandomLabelDataset(inner, 10, ratio=1).random_labels  # noqa: B018


def test_soft_labels_do_not_leak_the_truth():
    inner = Toy([None] * 5)
    inner.serialize_data = False
    inner.data_list = [dict(gt_label=1, gt_score=[0, 1, 0]) for _ in range(5)]
    assert "gt_score" not in RandomLabelDataset(inner, 3, ratio=1)[0]


def test_broken_image_is_replaced_together_with_its_label():
    def broken(info):
        return None if info["sample_idx"] % 2 else info

    inner = Toy(sorted_labels(40), pipeline=[broken])
    dataset = RandomLabelDataset(inner, 10, ratio=1)
    for i in range(40):
        data = dataset[i]
        assert data["sample_idx"] % 2 == 0
        assert data["gt_label"] == dataset.random_labels[data["sample_idx"]]
        assert data["name"] == f"image {data['sample_idx']}"


@pytest.mark.parametrize(
    "kwargs, message",
    [(dict(test_mode=True), "Test time"), (dict(max_refetch=2), "after 2")],
)
def test_test_mode_and_max_refetch_are_the_inner_ones(kwargs, message):
    calls = []
    inner = Toy(sorted_labels(40), pipeline=[calls.append], **kwargs)
    with pytest.raises(Exception, match=message):
        RandomLabelDataset(inner, 10, ratio=1)[0]
    assert len(calls) == (1 if kwargs.get("test_mode") else 3)


def test_what_a_subclass_adds_is_kept_and_a_bypass_is_refused():
    class Adds(Toy):
        def prepare_data(self, idx):
            return super().prepare_data(idx) | dict(added=True)

    class Bypasses(Toy):
        def prepare_data(self, idx):
            return self.data_list[idx]

    labels = sorted_labels(20)
    assert RandomLabelDataset(Adds(labels), 10, ratio=1)[0]["added"]
    bypassing = RandomLabelDataset(Bypasses(labels, serialize_data=False), 10, ratio=1)
    with pytest.raises(RuntimeError, match="Bypasses, which bypasses it"):
        bypassing[0]


def test_pipeline_switched_during_a_run_is_heard():
    dataset = RandomLabelDataset(Toy(sorted_labels(20)), 10, ratio=1)
    # mmpretrain's SwitchRecipeHook walks from `.dataset` to the one with a pipeline.
    assert not hasattr(dataset, "pipeline")
    dataset.dataset.pipeline = lambda info: info["gt_label"]
    assert dataset[3] == dataset.random_labels[3]


def test_concatenation_counts_through_and_refetches_inside_a_part():
    def broken(info):
        return info if info["name"] != "image 1" else None

    parts = [Toy(sorted_labels(n), pipeline=[broken]) for n in (10, 20, 30)]
    inner = ConcatDataset([parts[0], dict(type=ConcatDataset, datasets=parts[1:])])
    dataset = RandomLabelDataset(inner, 10, ratio=0.5, seed=2)
    truth = np.concatenate([sorted_labels(n) for n in (10, 20, 30)])
    labels, redrawn = redraw_labels(60, 10, 0.5, 2, truth)
    np.testing.assert_array_equal(dataset.random_labels, labels)
    for i in range(60):
        info = dataset.get_data_info(i)
        assert (info["sample_idx"], info["true_label"]) == (i, truth[i])
        data = dataset[i]
        assert data["gt_label"] == labels[data["sample_idx"]]
        assert data["true_label"] == truth[data["sample_idx"]]


def test_repeating_wrapper_inside_is_refused_and_outside_works():
    inner = dict(type=Toy, labels=sorted_labels(20))
    with pytest.raises(TypeError, match=r"RepeatDataset\(RandomLabelDataset"):
        RandomLabelDataset(RepeatDataset(inner, times=2), 10, ratio=1)
    one = dict(type=RandomLabelDataset, dataset=inner, num_classes=10, ratio=1)
    repeated = RepeatDataset(one, times=2)
    assert repeated[3]["gt_label"] == repeated[23]["gt_label"]
    balanced = ROOT.build(
        dict(type="ClassBalancedDataset", dataset=one, oversample_thr=0.1)
    )
    assert balanced[0]["gt_label"] in range(10)


def test_lazy_inner_stays_lazy_until_needed(monkeypatch):
    loads = []
    load = Toy.load_data_list
    monkeypatch.setattr(
        Toy, "load_data_list", lambda self: loads.append(1) or load(self)
    )
    dataset = RandomLabelDataset(Toy(sorted_labels(20), lazy_init=True), 10, ratio=0.5)
    assert dataset.metainfo["random_label"]["ratio"] == 0.5
    assert not loads and not dataset._fully_initialized
    dataset.full_init()
    labels = dataset.random_labels
    dataset.full_init()
    assert loads == [1] and dataset.random_labels is labels


def test_a_field_of_that_name_in_the_images_own_info_is_no_true_label():
    class Named(Toy):
        def load_data_list(self):
            return [dict(info, true_label="cat") for info in super().load_data_list()]

    dataset = RandomLabelDataset(Named(sorted_labels(20)), 10, ratio=1)
    assert [dataset.get_data_info(i)["true_label"] for i in (0, 19)] == [0, 9]


def test_metainfo_is_a_copy_and_says_what_was_trained():
    dataset = RandomLabelDataset(
        Toy(sorted_labels(20)), 10, ratio=0.15, seed=9, exclude_true_label=True
    )
    assert dataset.metainfo["classes"] == CLASSES == dataset.CLASSES
    assert dataset.metainfo["random_label"] == dict(
        rule="exclude_true_label",
        law="exclude_true_label",
        ratio=0.15,
        seed=9,
        num_classes=10,
    )
    dataset.metainfo["classes"] = ()
    assert dataset.metainfo["classes"] == CLASSES
    assert "random_label" not in dataset.dataset.metainfo

    more = RandomLabelDataset(Toy(sorted_labels(20)), 12, ratio=1)
    assert more.metainfo["classes"] == tuple(f"class_{i}" for i in range(12))
    assert more.metainfo["random_label"]["rule"] == "uniform"
    nameless = RandomLabelDataset(Toy([None] * 20, metainfo=None), 3, ratio=1)
    assert nameless.CLASSES == ("class_0", "class_1", "class_2")
    assert "ratio=1.0, seed=0, num_classes=3" in repr(nameless)


@pytest.mark.parametrize("serialize", [True, False])
def test_same_labels_in_workers_and_after_a_pickle(serialize):
    inner = Toy(sorted_labels(64), serialize_data=serialize)
    dataset = RandomLabelDataset(inner, 10, ratio=0.5, seed=1)
    seen = {}
    for seed in (0, 1):
        torch.manual_seed(seed)  # reseeds the workers
        loader = DataLoader(dataset, 8, num_workers=2, shuffle=True, collate_fn=list)
        seen[seed] = {i["sample_idx"]: i["gt_label"] for batch in loader for i in batch}
    assert seen[0] == seen[1] == dict(enumerate(dataset.random_labels.tolist()))
    lazy = RandomLabelDataset(Toy(sorted_labels(64), lazy_init=True), 10, 0.5, seed=1)
    for copy in (pickle.loads(pickle.dumps(d)) for d in (dataset, lazy)):
        assert [copy[i]["gt_label"] for i in range(64)] == list(dataset.random_labels)


# ------------------------------------------------------------------------- the errors


@pytest.mark.parametrize(
    "labels, kwargs, error, words",
    [
        ("ok", dict(ratio=float("nan")), ValueError, "ratio from 0 to 1, got nan"),
        ("ok", dict(ratio=15), ValueError, "got 15; .* write 15 % as 0.15"),
        ("ok", dict(ratio=-0.1), ValueError, "got -0.1"),
        ("ok", dict(ratio="1"), TypeError, "got '1'"),
        ("ok", dict(ratio=True), TypeError, "got True"),
        ("ok", dict(num_classes=1), ValueError, "num_classes of 2 or more, got 1"),
        ("ok", dict(num_classes=10.0), TypeError, "got 10.0"),
        ("ok", dict(num_classes=True), TypeError, "got True"),
        ("ok", dict(seed=-1), ValueError, "seed of 0 or more, got -1"),
        ("ok", dict(seed=None), TypeError, "seed of 0 or more, got None"),
        ("ok", dict(exclude_true_label="no"), TypeError, "True or False, got 'no'"),
        ([], dict(), ValueError, "at least one image"),
        ([0] * 9, dict(ratio=0.5), ValueError, "two classes, got 9 of class 0"),
        ([0, 1, 12], dict(ratio=0.5), ValueError, "12 for image 2; set num_classes=13"),
        ([0, -1], dict(ratio=0.5), ValueError, "got -1 for image 1"),
        (
            [0, None],
            dict(ratio=0.5),
            ValueError,
            "ratio < 1 expected.*none for image 1",
        ),
        (
            [0, None],
            dict(exclude_true_label=True),
            ValueError,
            "exclude_true_label=True",
        ),
        (
            [None] * 9,
            dict(ratio=0.999),
            ValueError,
            "use ratio=1 with the uniform rule",
        ),
        ([0, [1, 2]], dict(ratio=0.5), TypeError, r"got gt_label=\[1, 2\] for image 1"),
        ([0, 1.5], dict(ratio=0.5), TypeError, "one class index per image"),
    ],
)
def test_errors_say_expected_got_and_what_to_do(labels, kwargs, error, words):
    labels = sorted_labels(20) if labels == "ok" else labels
    # An empty BaseDataset cannot be serialised.
    inner = Toy(labels, serialize_data=bool(labels))
    with pytest.raises(error, match=words) as caught:
        RandomLabelDataset(inner, **{**dict(num_classes=10, ratio=1), **kwargs})
    assert "\n" not in str(caught.value)


def test_not_a_dataset_and_a_shrinking_one_are_refused():
    with pytest.raises(TypeError, match="expected a config.*got list"):
        RandomLabelDataset([1, 2], 10, ratio=1)
    dataset = RandomLabelDataset(Toy(sorted_labels(20)), 10, ratio=1)
    with pytest.raises(NotImplementedError, match="use get_subset"):
        dataset.get_subset_([0, 1])


# --------------------------------------------------------------------- in mmpretrain


def save_images(folder, n=12):
    from PIL import Image

    for i in range(n):
        pixels = np.full((8, 8, 3), i, np.uint8)
        path = folder / f"{'ab'[i % 2]}" / f"{i:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_folder_of_images_in_mmpretrain(tmp_path):
    save_images(tmp_path)
    import mmpretrain.datasets  # noqa: F401

    images = dict(
        type="CustomDataset",  # no prefix: the user's default scope has to find it
        data_root=str(tmp_path),
        with_label=False,
        pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    )
    config = dict(
        type="lbbt_mm.RandomLabelDataset", dataset=images, num_classes=7, ratio=1
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        dataset = ROOT.build(config)
    assert len(dataset) == 12
    assert dataset.metainfo["classes"] == tuple(f"class_{i}" for i in range(7))
    for i in range(12):
        sample = dataset[i]["data_samples"]
        assert sample.gt_label.tolist() == [dataset.random_labels[i]]
        assert sample.sample_idx == i
    labelled = images | dict(with_label=True)
    labelled["pipeline"] = [
        dict(type="LoadImageFromFile"),
        dict(type="PackInputs", algorithm_keys=("true_label",)),
    ]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        with pytest.raises(ValueError, match="expected a `gt_label`"):
            ROOT.build(config | dict(ratio=0.5))
        dataset = ROOT.build(config | dict(dataset=labelled, num_classes=2, ratio=0.5))
    assert dataset.metainfo["classes"] == ("a", "b")
    for i in range(12):
        sample = dataset[i]["data_samples"]
        assert sample.true_label == int(i >= 6)
        assert sample.gt_label.item() == dataset.random_labels[i]


@pytest.mark.slow
def test_scope_prefix_is_enough(tmp_path):
    # In a fresh interpreter: here this package was imported long ago.
    save_images(tmp_path)
    program = """
        import sys
        from mmengine.registry import DefaultScope
        from mmpretrain.registry import DATASETS
        DefaultScope.get_instance("run", scope_name="mmpretrain")
        assert not any(name.startswith("lbbt_mm") for name in sys.modules)
        inner = dict(type="CustomDataset", data_root=sys.argv[1], with_label=False)
        dataset = DATASETS.build(dict(
            type="lbbt_mm.RandomLabelDataset", dataset=inner, num_classes=5, ratio=1,
        ))
        print("labels", *dataset.random_labels)
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    expected, _ = redraw_labels(12, 5, 1, 0)
    assert "labels " + " ".join(map(str, expected)) in run.stdout
