"""From a config to features: whose images, which labels, which weights."""

from __future__ import annotations

import copy
import os

import numpy as np
import pytest
import torch
import transformers
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS
from PIL import Image
from torch import nn

from lbbt_mm.datasets import (
    FewTrueLabelsDataset,
    InstanceLabelDataset,
    RandomLabelDataset,
    RotationDataset,
)
from lbbt_mm.language import CheckpointError
from lbbt_mm.probe import feature_key
from lbbt_mm.probe import setup as probe_setup
from lbbt_mm.probe.setup import (
    build_frozen_model,
    find_pipeline,
    probe_dataloaders,
    probe_features,
    true_label_dataset,
)

TEST_PIPELINE = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
# An augmentation that would be seen: it paints every image black.
TRAIN_PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="RandomErasing", erase_prob=1.0, min_area_ratio=0.9, max_area_ratio=1.0),
    dict(type="PackInputs"),
]


def random_labels(dataset, **kwargs):
    return dict(
        type="lbbt_mm.RandomLabelDataset",
        dataset=dataset,
        num_classes=2,
        ratio=1.0,
        **kwargs,
    )


@pytest.fixture
def cfg(tmp_path):
    """8 training and 4 test images of two classes; image k is of brightness 20 k."""
    for split, count in (("train", 4), ("test", 2)):
        for label in range(2):
            folder = tmp_path / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((8, 8, 3), 20 * (label * count + i), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")

    def images(split, pipeline):
        return dict(
            type="CustomDataset",
            data_root=str(tmp_path),
            data_prefix=split,
            pipeline=pipeline,
            serialize_data=False,  # True collects garbage: half a second each time
        )

    return Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="VisionTransformer",
                    img_size=8,
                    patch_size=4,
                    out_type="avg_featmap",
                    arch=dict(
                        embed_dims=8,
                        num_layers=1,
                        num_heads=2,
                        feedforward_channels=8,
                    ),
                ),
                head=dict(type="LinearClsHead", num_classes=2, in_channels=8),
            ),
            data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=2),
            train_dataloader=dict(
                batch_size=3,
                num_workers=0,
                drop_last=True,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=random_labels(images("train", TRAIN_PIPELINE), seed=1),
            ),
            test_dataloader=dict(
                batch_size=3,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=images("test", TEST_PIPELINE),
            ),
        )
    )


@pytest.fixture
def forwards(monkeypatch):
    """Counts the passes of the frozen model over a dataset."""
    calls = []
    original = probe_setup.extract_readouts
    monkeypatch.setattr(
        probe_setup,
        "extract_readouts",
        lambda *a, **k: (calls.append(1), original(*a, **k))[1],
    )
    return calls


def save_checkpoint(cfg, path, seed):
    model = build_frozen_model(cfg, seed=seed)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return str(path)


def test_random_labels_come_off_at_any_depth_and_the_input_is_kept():
    inner = dict(type="CustomDataset", pipeline=["augment"], data_root="x")
    nested = dict(
        type="RepeatDataset",
        times=2,
        dataset=random_labels(
            dict(type="ConcatDataset", datasets=[inner, random_labels(inner)])
        ),
    )
    before = copy.deepcopy(nested)
    clean = dict(inner, pipeline=["clean"])
    assert true_label_dataset(nested, ["clean"]) == dict(
        type="RepeatDataset",
        times=2,
        dataset=dict(type="ConcatDataset", datasets=[clean, clean]),
    )
    assert nested == before
    assert true_label_dataset(random_labels(inner)) == inner
    assert find_pipeline(nested) == ["augment"]
    exchanged = random_labels(inner, pipeline=["other"])
    assert find_pipeline(exchanged) == ["other"]
    assert true_label_dataset(exchanged) == dict(inner, pipeline=["other"])


@pytest.mark.parametrize(
    "wrapper", ["RotationDataset", "InstanceLabelDataset", "FewTrueLabelsDataset"]
)
def test_labels_of_other_objectives_come_off_too(wrapper):
    inner = dict(type="CustomDataset", pipeline=["augment"], data_root="x")
    nested = dict(type=f"lbbt_mm.{wrapper}", dataset=random_labels(inner))
    clean = dict(inner, pipeline=["clean"])
    assert true_label_dataset(nested, ["clean"]) == clean
    # Few labels are true ones, and few they stay.
    few = dict(type="lbbt_mm.FewLabelDataset", dataset=inner)
    assert true_label_dataset(dict(nested, dataset=few)) == few


@pytest.fixture
def subclass():
    """A class of a user's that inherits, under a name that says nothing."""
    names = []

    def make(registry, base):
        name = f"Mine{len(names)}OfThisTest"
        names.append((registry, name))
        return registry.register_module(name=name, module=type(name, (base,), {}))

    yield make
    for registry, name in names:
        registry.module_dict.pop(name)


@pytest.mark.parametrize(
    "base",
    [
        RandomLabelDataset,
        RotationDataset,
        InstanceLabelDataset,
        FewTrueLabelsDataset,
    ],
)
def test_labels_of_a_users_subclass_come_off_too(subclass, base):
    kind = subclass(DATASETS, base)
    inner = dict(type="CustomDataset", pipeline=["augment"], data_root="x")
    for name in (kind, kind.__name__, f"mmengine.{kind.__name__}"):
        assert true_label_dataset(dict(type=name, dataset=inner)) == inner


def test_an_alias_of_random_labels_is_probed_with_true_labels(cfg):
    DATASETS.register_module(name="Drawn", module=RandomLabelDataset)
    try:
        cfg.train_dataloader.dataset.type = "Drawn"
        data = probe_features(cfg, cache_dir=None)
    finally:
        DATASETS.module_dict.pop("Drawn")
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4


def test_the_backbone_of_a_users_self_supervised_model_is_probed(cfg, subclass):
    from mmpretrain.models import SimCLR

    kind = subclass(MODELS, SimCLR)
    cfg.model = dict(type=kind.__name__, backbone=cfg.model.backbone, neck=None)
    assert type(build_frozen_model(cfg)).__name__ == "ImageClassifier"


def test_loaders_show_every_image_once_in_order(cfg):
    found = probe_dataloaders(cfg)
    for split in ("train", "test"):
        loader = found[split]
        assert loader["sampler"]["shuffle"] is False
        assert loader["drop_last"] is False
        assert loader["dataset"]["type"] == "CustomDataset"
        assert loader["dataset"]["data_prefix"] == split
        assert loader["dataset"]["pipeline"] == TEST_PIPELINE


@pytest.mark.parametrize("name", ["train_dataloader", "test_dataloader"])
def test_a_missing_loader_is_named(cfg, name):
    cfg[name] = None
    with pytest.raises(ValueError, match=f"expects {name} in the config"):
        probe_dataloaders(cfg)


def test_features_are_of_clean_images_with_true_labels(cfg):
    data = probe_features(cfg, cache_dir=None)
    assert data.train.labels.tolist() == [0] * 4 + [1] * 4
    assert data.test.labels.tolist() == [0] * 2 + [1] * 2
    assert data.num_classes == 2
    # Test image k and training image k are the same grey: were the training images
    # augmented, or in another order, their features would differ.
    torch.testing.assert_close(data.train.features[:4], data.test.features)
    assert len({tuple(row) for row in data.train.features.tolist()}) == 8


def test_unbridged_weights_depend_on_the_seed_alone(cfg):
    torch.manual_seed(5)
    first = build_frozen_model(cfg, seed=1)
    torch.manual_seed(6)
    again = build_frozen_model(cfg, seed=1)
    other = build_frozen_model(cfg, seed=2)
    for name, value in first.backbone.state_dict().items():
        torch.testing.assert_close(value, again.backbone.state_dict()[name])
    weight = "patch_embed.projection.weight"
    assert not torch.equal(
        first.backbone.state_dict()[weight], other.backbone.state_dict()[weight]
    )


def test_second_call_does_not_run_the_model(cfg, tmp_path, forwards):
    first = probe_features(cfg, cache_dir=tmp_path / "cache")
    second = probe_features(cfg, cache_dir=tmp_path / "cache")
    assert len(forwards) == 2  # train and test, once each
    assert first.cached == dict(train=False, test=False)
    assert second.cached == dict(train=True, test=True)
    torch.testing.assert_close(second.train.features, first.train.features)
    probe_features(cfg, cache_dir=None)
    assert len(forwards) == 4


def test_with_a_checkpoint_a_hit_does_not_even_build_the_model(
    cfg, tmp_path, monkeypatch
):
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    first = probe_features(cfg, checkpoint, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(probe_setup, "build_frozen_model", pytest.fail)
    second = probe_features(cfg, checkpoint, cache_dir=tmp_path / "cache")
    torch.testing.assert_close(second.test.features, first.test.features)
    assert second.weights == first.weights


def test_whatever_matters_makes_other_features(cfg, tmp_path, forwards):
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    cache = tmp_path / "cache"
    probe_features(cfg, checkpoint, cache_dir=cache)
    assert len(forwards) == 2
    # Other content under the same name; back to the old content.
    content = (tmp_path / "a.pth").read_bytes()
    save_checkpoint(cfg, tmp_path / "a.pth", seed=4)
    changed = probe_features(cfg, checkpoint, cache_dir=cache)
    assert len(forwards) == 4
    (tmp_path / "a.pth").write_bytes(content)
    original = probe_features(cfg, checkpoint, cache_dir=cache)
    assert len(forwards) == 4
    assert not torch.equal(original.train.features, changed.train.features)
    # Precision, pipeline, preprocessing.
    probe_features(cfg, checkpoint, cache_dir=cache, amp=True)
    assert len(forwards) == 6
    flipped = copy.deepcopy(cfg)
    flipped.test_dataloader.dataset.pipeline.insert(
        1, dict(type="RandomFlip", prob=1.0)
    )
    probe_features(flipped, checkpoint, cache_dir=cache)
    assert len(forwards) == 8
    shifted = copy.deepcopy(cfg)
    shifted.data_preprocessor.mean = [0.0] * 3
    probe_features(shifted, checkpoint, cache_dir=cache)
    assert len(forwards) == 10
    # Another seed means nothing where every weight comes from the checkpoint.
    probe_features(cfg, checkpoint, cache_dir=cache, seed=9)
    assert len(forwards) == 10


def test_the_number_of_images_is_in_the_key(cfg, tmp_path, forwards):
    probe_features(cfg, cache_dir=tmp_path / "cache")
    (tmp_path / "test" / "class0" / "0.png").unlink()
    data = probe_features(cfg, cache_dir=tmp_path / "cache")
    assert len(forwards) == 3
    assert data.cached == dict(train=True, test=False)


def probe_twice(cfg, cache, change):
    """Labels and features before and after a change that no config shows."""
    before = probe_features(cfg, cache_dir=cache)
    change()
    after = probe_features(cfg, cache_dir=cache)
    fresh = probe_features(cfg, cache_dir=None)
    torch.testing.assert_close(after.train.features, fresh.train.features)
    assert after.train.labels.tolist() == fresh.train.labels.tolist()
    return before, after


def test_a_corrected_annotation_file_is_seen(cfg, tmp_path):
    names = [f"class{c}/{i}.png" for c in range(2) for i in range(4)]
    file = tmp_path / "train.txt"
    file.write_text("\n".join(f"{name} 0" for name in names))
    cfg.train_dataloader.dataset.dataset.ann_file = str(file)

    def correct():
        lines = (f"{name} {name[5]}" for name in names)
        file.write_text("\n".join(lines))

    before, after = probe_twice(cfg, tmp_path / "cache", correct)
    assert before.train.labels.tolist() == [0] * 8
    assert after.train.labels.tolist() == [0] * 4 + [1] * 4


def test_an_image_moved_to_another_class_is_seen(cfg, tmp_path):
    folder = tmp_path / "train"
    before, after = probe_twice(
        cfg,
        tmp_path / "cache",
        lambda: (folder / "class0/3.png").rename(folder / "class1/9.png"),
    )
    assert before.train.labels.sum() == 4
    assert after.train.labels.sum() == 5


def test_an_image_replaced_under_its_name_size_and_date_is_seen(cfg, tmp_path):
    path = tmp_path / "train/class0/0.bmp"

    def save(value):
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)

    def replace():
        old = path.stat()
        save(200)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        assert path.stat().st_size == old.st_size

    save(100)
    before, after = probe_twice(cfg, tmp_path / "cache", replace)
    assert not torch.equal(before.train.features, after.train.features)


def test_a_wrapper_of_other_images_is_seen(cfg, tmp_path):
    def keep_few():
        cfg.train_dataloader.dataset.dataset = dict(
            type="lbbt_mm.FewLabelDataset",
            labels=2,
            dataset=cfg.train_dataloader.dataset.dataset,
        )

    before, after = probe_twice(cfg, tmp_path / "cache", keep_few)
    assert [len(data.train.labels) for data in (before, after)] == [8, 2]


def test_another_architecture_under_the_same_weights_is_seen(cfg, tmp_path):
    folder = tmp_path / "language"
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, n_inner=8, vocab_size=4, n_positions=8
    )
    transformers.GPT2Model(config).save_pretrained(folder)
    cfg.model.backbone = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=str(folder),
        num_layers=1,
        img_size=8,
        patch_size=4,
    )
    cfg.model.head = None
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    cache = tmp_path / "cache"
    probe_features(cfg, checkpoint, cache_dir=cache)
    config.n_head = 4
    config.save_pretrained(folder)
    with pytest.raises(CheckpointError, match="num_heads: 4 != 2"):
        probe_features(cfg, checkpoint, cache_dir=cache)


def test_images_that_are_no_files_are_never_kept(cfg, tmp_path, forwards, monkeypatch):
    monkeypatch.setattr(feature_key, "file_identity", lambda path: None)
    for _ in range(2):
        with pytest.warns(UserWarning, match="extracted each time"):
            probe_features(cfg, cache_dir=tmp_path / "cache")
    assert len(forwards) == 4
    assert not (tmp_path / "cache").exists()


def test_checkpoint_weights_are_used_and_the_head_may_differ(cfg, tmp_path):
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    cfg.model.head.num_classes = 7
    expected = torch.load(checkpoint)["state_dict"]
    model = build_frozen_model(cfg, checkpoint)
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, expected[f"backbone.{name}"])


def test_a_checkpoint_of_another_model_is_refused(cfg, tmp_path):
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    cfg.model.backbone.arch.num_layers = 2
    fits_not = r"is not the one in the config[^$]*layers\.1"
    with pytest.raises(CheckpointError, match=fits_not):
        build_frozen_model(cfg, checkpoint)
    torch.save(dict(weight=torch.ones(1)), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"Expected weights named backbone\.\*"):
        build_frozen_model(cfg, str(tmp_path / "b.pth"))


def test_a_checkpoint_of_a_distributed_wrapper_loads(cfg, tmp_path):
    state = build_frozen_model(cfg, seed=3).state_dict()
    wrapped = {f"module.{name}": value for name, value in state.items()}
    torch.save(wrapped, tmp_path / "a.pth")
    model = build_frozen_model(cfg, str(tmp_path / "a.pth"))
    torch.testing.assert_close(model.backbone.pos_embed, state["backbone.pos_embed"])


def test_patch_embedding_is_kept_unless_it_shall_be_drawn_anew(cfg, tmp_path):
    model = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model="gpt2",
        pretrained=False,
        num_layers=1,
        img_size=8,
        patch_size=4,
    )
    cfg.model.backbone, cfg.model.head = model, None
    checkpoint = save_checkpoint(cfg, tmp_path / "a.pth", seed=3)
    kept = build_frozen_model(cfg, checkpoint, seed=4).backbone.state_dict()
    drawn = build_frozen_model(
        cfg, checkpoint, reinit_patch_embed=True, seed=4
    ).backbone.state_dict()
    # The same draw, although this head draws random numbers before it.
    cfg.model.head = dict(type="LinearClsHead", num_classes=2, in_channels=768)
    again = build_frozen_model(
        cfg, checkpoint, reinit_patch_embed=True, seed=4
    ).backbone.state_dict()
    expected = torch.load(checkpoint)["state_dict"]
    changed = set()
    for name, value in kept.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(value, expected[f"backbone.{name}"])
            torch.testing.assert_close(drawn[name], again[name])
            if not torch.equal(drawn[name], value):
                changed.add(name)
    assert changed and all(name.startswith("patch_embed.") for name in changed)


def test_a_backbone_that_cannot_draw_its_patch_embedding_says_so(cfg):
    with pytest.raises(ValueError, match="expects a backbone with reset_patch_embed"):
        build_frozen_model(cfg, reinit_patch_embed=True)


def test_a_model_without_features_is_refused(cfg):
    @MODELS.register_module(name="NoClassifierForThisTest")
    class NoClassifier(nn.Module):
        def __init__(self, data_preprocessor):
            super().__init__()

    try:
        cfg.model = dict(type="mmengine.NoClassifierForThisTest")
        with pytest.raises(ValueError, match="with a backbone and extract_feat"):
            build_frozen_model(cfg)
    finally:
        MODELS.module_dict.pop("NoClassifierForThisTest")
