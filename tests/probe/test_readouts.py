"""The last token, the mean of tokens and a chosen block, from one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image
from torch.testing import assert_close

from lbbt_mm.probe import setup as probe_setup
from lbbt_mm.probe.readouts import raw_pixels
from lbbt_mm.probe.run import ProbeSettings, record_readouts, run_probe
from lbbt_mm.probe.setup import build_frozen_model, probe_readouts


@pytest.fixture
def cfg(tmp_path: Path) -> Config:
    random = np.random.RandomState(0)
    for split in ("train", "test"):
        for label in range(2):
            folder = tmp_path / split / str(label)
            folder.mkdir(parents=True)
            for i in range(3):
                pixels = random.randint(0, 256, (8, 8, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")

    def loader(split: str) -> dict:
        pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
        images = dict(type="CustomDataset", data_root=str(tmp_path), data_prefix=split)
        return dict(
            batch_size=4,
            num_workers=0,
            sampler=dict(type="DefaultSampler", shuffle=False),
            dataset=dict(images, pipeline=pipeline, serialize_data=False),
        )

    backbone = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model="distilgpt2",
        pretrained=False,
        num_layers=3,
        img_size=8,
        patch_size=4,
    )
    return Config(
        dict(
            default_scope="mmpretrain",
            model=dict(
                type="ImageClassifier",
                backbone=backbone,
                head=dict(type="LinearClsHead", num_classes=2, in_channels=768),
            ),
            data_preprocessor=dict(mean=[127.5] * 3, std=[60.0] * 3, num_classes=2),
            train_dataloader=loader("train"),
            test_dataloader=loader("test"),
        )
    )


@pytest.mark.parametrize("block", [None, 0, -1])
def test_each_is_what_the_backbone_itself_would_return(cfg, block) -> None:
    found = probe_readouts(cfg, None, ["last", "avg"], block, cache_dir=None)
    assert [*found] == ["last", "avg"]
    for readout, data in found.items():
        changed = cfg.copy()
        index = -1 if block is None else block
        changed.model.backbone |= dict(out_type=readout, out_indices=index)
        alone = probe_setup.probe_features(changed, cache_dir=None)
        for split in ("train", "test"):
            ours, theirs = getattr(data, split), getattr(alone, split)
            assert_close(ours.features, theirs.features, rtol=1e-4, atol=1e-5)
            assert torch.equal(ours.labels, theirs.labels)
    assert not torch.allclose(found["last"].test.features, found["avg"].test.features)


def test_raw_pixels_need_no_model_and_stand_beside_any(cfg) -> None:
    cfg.model.backbone = dict(type="ResNet", depth=18)
    found = probe_readouts(cfg, None, ["pixels"], cache_dir=None)["pixels"]
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    images = [sample["inputs"] for sample in dataset]
    wanted = (torch.stack(images).float() - 127.5) / 60
    assert_close(found.test.features, wanted.flatten(1))
    # As large as 32 x 32 at most.
    large = torch.rand(1, 3, 64, 96)
    assert raw_pixels(large).shape == (1, 3 * 32 * 32)
    assert_close(raw_pixels(large)[0, 0], large[0, 0, :2, :3].mean())


def test_a_block_alone_keeps_the_configs_own_read_out(cfg) -> None:
    (data,) = probe_readouts(cfg, None, [], 0, cache_dir=None).values()
    both = probe_readouts(cfg, None, ["last"], 0, cache_dir=None)
    assert_close(data.train.features, both["last"].train.features)
    own = probe_setup.probe_features(cfg, cache_dir=None)
    assert not torch.allclose(own.train.features, data.train.features)


def test_one_pass_and_a_cache_for_each(cfg, tmp_path, monkeypatch) -> None:
    passes = []
    original = probe_setup.extract_readouts
    monkeypatch.setattr(
        probe_setup,
        "extract_readouts",
        lambda *a: (passes.append(1), original(*a))[1],
    )
    cache = tmp_path / "features"
    first = probe_readouts(cfg, None, ["last", "avg"], cache_dir=cache)
    assert len(passes) == 2  # the training and the test images
    again = probe_readouts(cfg, None, ["avg", "last"], cache_dir=cache)
    assert len(passes) == 2 and again["avg"].cached == dict(train=True, test=True)
    for name in again:
        assert_close(first[name].test.features, again[name].test.features)
    probe_readouts(cfg, None, ["avg"], 1, cache_dir=cache)
    assert len(passes) == 4


def test_the_record_of_both_reads_as_one_of_the_first(cfg) -> None:
    found = probe_readouts(cfg, None, ["avg", "last"], 1, cache_dir=None)
    settings = ProbeSettings(epochs=2)
    runs = {n: run_probe(d, settings, say=lambda _: None) for n, d in found.items()}
    record = record_readouts(runs, 1, config="c.py")
    assert (record["readout"], record["block"], record["config"]) == ("avg", 1, "c.py")
    assert record["last_test_top1"] == runs["avg"].result.last_test_top1
    last = record["readouts"]["last"]
    assert last["last_test_top1"] == runs["last"].result.last_test_top1
    alone = record_readouts({"": runs["last"]})
    assert alone["readout"] is None and "readouts" not in alone


def test_what_has_no_tokens_or_no_such_block(cfg) -> None:
    with pytest.raises(ValueError, match="must name blocks from -3 to 2; got 3"):
        probe_readouts(cfg, None, ["avg"], 3, cache_dir=None)
    cfg.model.backbone = dict(type="ResNet", depth=18)
    assert build_frozen_model(cfg).backbone is not None
    with pytest.raises(ValueError, match="expects an lbbt_mm.LanguageBackbone, got"):
        probe_readouts(cfg, None, ["avg"], cache_dir=None)
