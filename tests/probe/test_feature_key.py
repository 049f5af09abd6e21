"""Whatever can change changes the key; what cannot be told apart has none."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from mmengine.registry import TRANSFORMS

from lbbt_mm.probe.feature_key import (
    UnknownContentError,
    feature_key,
    images_sha256,
    sources_sha256,
)


class InMemory:
    """A dataset without files."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def get_data_info(self, index):
        return dict(img=self.images[index], gt_label=self.labels[index])


def test_images_in_memory_count_by_content():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    first = images_sha256(InMemory(images, [0, 1, 0]))
    assert images_sha256(InMemory(images.copy(), [0, 1, 0])) == first
    assert images_sha256(InMemory(images, [0, 1, 1])) != first
    images[2, 3, 3] = 1
    assert images_sha256(InMemory(images, [0, 1, 0])) != first
    with pytest.raises(UnknownContentError, match="image 0 with s3://somewhere"):
        remote = InMemory([0], [0])
        remote.get_data_info = lambda index: dict(img_path="s3://somewhere", gt_label=0)
        images_sha256(remote)


def test_long_arrays_and_objects_count_by_content():
    # Their reprs are equal: "[0. 0. ... 0. 0.]".
    zeros = np.zeros(5000)
    ones = zeros.copy()
    ones[2500] = 1
    assert feature_key(a=zeros) != feature_key(a=ones)
    assert feature_key(a=torch.from_numpy(zeros)) != feature_key(a=torch.ones(5000))
    with pytest.raises(UnknownContentError, match="lambda"):
        feature_key(a=lambda: 1)


def test_code_that_a_config_names_counts(tmp_path, monkeypatch):
    file = tmp_path / "mine_of_this_test.py"
    text = "class MineOfThisTest:\n    def transform(self, results): return {}\n"
    uses = "from helper_of_this_test import crop\n"
    file.write_text(uses + text.format("results"))
    helper = tmp_path / "helper_of_this_test.py"
    helper.write_text("def crop(image): return image\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("mine_of_this_test")
    TRANSFORMS.register_module(module=module.MineOfThisTest)
    try:
        pipeline = [dict(type="mmengine.MineOfThisTest")]
        first = sources_sha256([pipeline])
        assert sources_sha256([pipeline]) == first
        file.write_text(uses + text.format("None"))
        second = sources_sha256([pipeline])
        assert second != first
        helper.write_text("def crop(image): return image[1:]\n")
        assert sources_sha256([pipeline]) != second
    finally:
        TRANSFORMS.module_dict.pop("MineOfThisTest")
        sys.modules.pop("mine_of_this_test")
        sys.modules.pop("helper_of_this_test")


def test_files_and_libraries_count(tmp_path, monkeypatch):
    file = tmp_path / "table.npy"
    file.write_bytes(b"1")
    first = sources_sha256([dict(table=str(file))])
    file.write_bytes(b"12")
    second = sources_sha256([dict(table=str(file))])
    assert first != second
    monkeypatch.setattr("cv2.__version__", "0.0.0")
    assert sources_sha256([dict(table=str(file))]) != second
