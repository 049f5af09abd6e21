"""Extraction in order, and a cache that is never wrong and never in the way."""

from __future__ import annotations

import errno
import os
import resource
import warnings

import pytest
import torch
from torch import nn

from lbbt_mm.probe import features as module
from lbbt_mm.probe.feature_key import feature_key, file_sha256, weights_sha256
from lbbt_mm.probe.features import (
    Features,
    cached_features,
    extract_features,
    pool_features,
)


class ToyClassifier(nn.Module):
    """The two methods that extraction uses; image i has features (i, 2 i)."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 2.0]))
        self.calls = []

    def data_preprocessor(self, batch, training):
        assert training is False
        return batch

    def extract_feat(self, inputs, stage):
        assert stage == "backbone" and not self.training
        assert not torch.is_grad_enabled()
        self.calls.append(len(inputs))
        out = inputs.reshape(-1, 1) @ self.weight[None]
        self.dtype = out.dtype
        return (torch.zeros(1), out)


class Images(torch.utils.data.Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        label = torch.tensor([index % 2])
        return torch.tensor(float(index)), dict(gt_label=label)


def collate(items):
    return dict(
        inputs=torch.stack([image for image, _ in items]),
        data_samples=[sample for _, sample in items],
    )


def loader(**kwargs):
    return torch.utils.data.DataLoader(
        Images(), batch_size=2, collate_fn=collate, **kwargs
    )


@pytest.fixture
def some_features():
    generator = torch.Generator().manual_seed(0)
    return Features(torch.randn(4, 3, generator=generator), torch.tensor([0, 1, 1, 0]))


def assert_same(found, expected):
    torch.testing.assert_close(found.features, expected.features, rtol=0, atol=0)
    torch.testing.assert_close(found.labels, expected.labels)


def test_extraction_keeps_the_order_and_leaves_nothing_out():
    model = ToyClassifier().train()
    found = extract_features(model, loader())
    index = torch.arange(5.0)
    assert_same(
        found,
        Features(torch.stack([index, 2 * index], 1), torch.tensor([0, 1, 0, 1, 0])),
    )
    assert found.features.dtype == torch.float32 and not found.features.requires_grad
    assert model.calls == [2, 2, 1]


def test_amp_runs_in_bfloat16_and_returns_float32():
    model = ToyClassifier()
    found = extract_features(model, loader(), amp=True)
    assert model.dtype == torch.bfloat16
    assert found.features.dtype == torch.float32


def test_a_loader_that_drops_images_is_refused():
    with pytest.raises(ValueError, match="each of the 5 images once, got 4"):
        extract_features(ToyClassifier(), loader(drop_last=True))


def test_a_loader_that_repeats_images_is_refused():
    with pytest.raises(ValueError, match="each of the 5 images once, got 6"):
        extract_features(ToyClassifier(), loader(sampler=[0, 1, 2, 3, 4, 0]))


def test_unlabelled_images_are_refused(monkeypatch):
    monkeypatch.setattr(Images, "__getitem__", lambda self, i: (torch.zeros(()), {}))
    with pytest.raises(ValueError, match="one true label for each image, and"):
        extract_features(ToyClassifier(), loader())


def test_pooling():
    generator = torch.Generator().manual_seed(0)
    vector = torch.randn(2, 3, generator=generator)
    stage = torch.randn(2, 3, 4, 5, generator=generator)
    tokens = stage.flatten(2).transpose(1, 2)
    assert pool_features((stage, vector)) is vector
    torch.testing.assert_close(pool_features((vector, stage)), stage.mean((2, 3)))
    torch.testing.assert_close(pool_features([tokens]), stage.mean((2, 3)))
    torch.testing.assert_close(pool_features(tokens), pool_features(stage))


@pytest.mark.parametrize("output", [([torch.ones(2, 3)],), torch.ones(3), None])
def test_outputs_that_are_no_features_are_refused(output):
    with pytest.raises(ValueError, match="expects the backbone's last output to be"):
        pool_features(output)


def test_second_call_reads_the_file(tmp_path, some_features):
    path = tmp_path / "deep" / "train-1.safetensors"
    calls = []
    for expected in (False, True):
        found, cached = cached_features(path, lambda: calls.append(1) or some_features)
        assert cached is expected
        assert_same(found, some_features)
    assert len(calls) == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]  # nothing left over


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped", "empty", "no_checksum", "turned", "halves"]
)
def test_a_damaged_file_is_made_again(tmp_path, some_features, damage):
    path = tmp_path / "train-1.safetensors"
    cached_features(path, lambda: some_features)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flipped":
        content[-20] ^= 1  # in a label: still a well-formed file
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "no_checksum":
        module.save_file(dict(features=torch.ones(4, 3), labels=torch.ones(4)), path)
    else:  # the same bytes, and so the same checksum, under another header
        old, new = {
            "turned": (b'"shape":[4,3]', b'"shape":[3,4]'),
            "halves": (b'"dtype":"F32"', b'"dtype":"I32"'),
        }[damage]
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
    with pytest.warns(UserWarning, match="is damaged .*extracting again"):
        found, cached = cached_features(path, lambda: some_features)
    assert not cached
    assert_same(found, some_features)
    assert cached_features(path, lambda: pytest.fail("not repaired"))[1]


def test_a_full_disk_loses_nothing(tmp_path, some_features, monkeypatch):
    path = tmp_path / "train-1.safetensors"

    def full(tensors, target, metadata):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "save_file", full)
    with pytest.warns(UserWarning, match="could not be written.*No space left.*Free"):
        found, cached = cached_features(path, lambda: some_features)
    assert not cached
    assert_same(found, some_features)
    assert list(tmp_path.iterdir()) == []  # no half-written file under any name


def test_a_disk_that_fills_up_under_the_writer(tmp_path):
    """Not simulated: the system stops the real writer after a page."""
    path = tmp_path / "train-1.safetensors"
    features = Features(torch.ones(4096, 3), torch.zeros(4096, dtype=torch.int64))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
        try:
            found, cached = cached_features(path, lambda: features)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not cached and found is features
    assert ["could not be written" in str(one.message) for one in told] == [True]
    assert list(tmp_path.iterdir()) == []


def test_the_file_appears_only_when_it_is_complete(
    tmp_path, some_features, monkeypatch
):
    path = tmp_path / "train-1.safetensors"
    original, seen = module.save_file, []

    def watch(tensors, target, metadata):
        original(tensors, target, metadata=metadata)
        seen.append((path.exists(), target))

    monkeypatch.setattr(module, "save_file", watch)
    cached_features(path, lambda: some_features)
    ((existed, part),) = seen
    assert not existed and part.parent == tmp_path  # there the rename is atomic
    # What a killed writer leaves (see tests/test_files.py) is never read.
    path.unlink()
    part.write_bytes(b"half")
    found, cached = cached_features(path, lambda: some_features)
    assert not cached
    assert_same(found, some_features)
    assert_same(cached_features(path, pytest.fail)[0], some_features)


def test_the_key_changes_with_whatever_matters():
    parts = dict(model=dict(type="A", depth=2), weights="1", amp=False)
    key = feature_key(**parts)
    assert key == feature_key(amp=False, weights="1", model=dict(depth=2, type="A"))
    assert len(key) == 32
    others = [
        dict(parts, weights="2"),
        dict(parts, amp=True),
        dict(parts, model=dict(type="A", depth=3)),
        dict(parts, more=None),
    ]
    assert len({key, *(feature_key(**other) for other in others)}) == 5


def test_classes_in_a_config_count_by_name():
    assert feature_key(type=nn.Linear) == feature_key(type=nn.Linear)
    assert feature_key(type=nn.Linear) != feature_key(type=nn.Conv2d)


def test_file_hash_is_of_the_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / name).write_bytes(content)
    a, b, c = (file_sha256(tmp_path / name) for name in "abc")
    assert a == b != c


def test_weights_hash_sees_values_shapes_and_precision():
    def model():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))

    changed = model()
    with torch.no_grad():
        changed[0].bias[1] += 1e-6
    counted = model()
    counted[1].num_batches_tracked += 1
    hashes = [weights_sha256(m) for m in (model(), changed, counted, model().half())]
    assert len(set(hashes)) == 4
    assert weights_sha256(model()) == hashes[0]
    assert weights_sha256(model().bfloat16()) not in hashes
