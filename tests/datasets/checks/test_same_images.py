"""A resumed run must have the images that it was begun with."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.runner import Runner
from PIL import Image

from lbbt_mm.datasets.checks.same_images import ChangedImagesError, describe_images


def save(folder, number, value=50):
    path = folder / f"{number:02d}.png"
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


class Model(BaseModel):
    """Learns a bias."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(4))

    def forward(self, inputs, data_samples=None, mode="tensor"):
        labels = torch.cat([sample.gt_label for sample in data_samples])
        scores = self.bias.expand(len(labels), 4)
        return dict(loss=torch.nn.functional.cross_entropy(scores, labels))


@pytest.fixture
def cfg(tmp_path):
    for number in range(8):
        save(tmp_path / "images", number)
    MODELS.register_module(name="ModelOfThisTest", module=Model)
    yield Config(
        dict(
            default_scope="mmpretrain",
            model=dict(type="mmengine.ModelOfThisTest"),
            work_dir=str(tmp_path / "run"),
            train_dataloader=dict(
                batch_size=4,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=True),
                dataset=dict(
                    type="lbbt_mm.RandomLabelDataset",
                    num_classes=4,
                    ratio=1.0,
                    dataset=dict(
                        type="CustomDataset",
                        data_root=str(tmp_path / "images"),
                        with_label=False,
                        pipeline=[
                            dict(type="LoadImageFromFile"),
                            dict(type="PackInputs"),
                        ],
                    ),
                ),
            ),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        )
    )
    MODELS.module_dict.pop("ModelOfThisTest")


def train(cfg, epochs, resume=False, **wrapper):
    cfg = copy.deepcopy(cfg)
    cfg.train_cfg.max_epochs = epochs
    cfg.resume = resume
    cfg.train_dataloader.dataset.update(wrapper)
    # Two runs within one second may not share a message hub.
    cfg.experiment_name = f"{cfg.work_dir}_{epochs}_{resume}_{len(wrapper)}"
    Runner.from_cfg(cfg).train()


def test_a_plain_run_resumes_with_the_same_images_only(cfg, tmp_path):
    train(cfg, 1)
    checkpoint = torch.load(tmp_path / "run/epoch_1.pth", weights_only=False)
    hub = checkpoint["message_hub"]
    ((number, digits),) = hub["runtime_info"]["lbbt_mm/images"]
    # Nothing but plain types may stand in a checkpoint.
    assert type(hub["runtime_info"]["lbbt_mm/images"]) is list and number == 8
    train(cfg, 2, resume=True)
    added = save(tmp_path / "images", 8)
    with pytest.raises(ChangedImagesError) as error:
        train(cfg, 3, resume=True)
    assert re.search(rf"{digits}.* 9 \(fingerprint", error.value.sentence)
    assert "accept_changed_images=True" in error.value.sentence
    train(cfg, 3, resume=True, accept_changed_images=True)
    train(cfg, 4, resume=True)  # the nine are now the images of the run
    added.unlink()
    with pytest.raises(ChangedImagesError):
        train(cfg, 5, resume=True)


def test_a_renamed_image_is_seen_and_a_moved_folder_is_not(cfg, tmp_path):
    train(cfg, 1)
    (tmp_path / "images").rename(tmp_path / "moved")
    cfg.train_dataloader.dataset.dataset.data_root = str(tmp_path / "moved")
    train(cfg, 2, resume=True)
    (tmp_path / "moved/03.png").rename(tmp_path / "moved/99.png")
    with pytest.raises(ChangedImagesError, match="8 .*got 8"):
        train(cfg, 3, resume=True)


def test_workers_and_wrappers_inside_wrappers_compare_too(cfg, tmp_path):
    cfg.train_dataloader.num_workers = 1
    inner = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type="lbbt_mm.SkipDamagedImages", dataset=inner)
    train(cfg, 1)
    save(tmp_path / "images", 8)
    with pytest.raises(ChangedImagesError):
        train(cfg, 2, resume=True)
    train(cfg, 2, resume=True, accept_changed_images=True)


def test_starting_from_weights_is_no_resume(cfg, tmp_path):
    train(cfg, 1)
    save(tmp_path / "images", 8)
    cfg.load_from = str(tmp_path / "run/epoch_1.pth")
    train(cfg, 2)


def test_images_in_memory_count_by_their_pixels():
    class Images:
        def __init__(self, pixels):
            self.pixels = pixels

        def __len__(self):
            return len(self.pixels)

        def get_data_info(self, index):
            return dict(img=self.pixels[index])

    pixels = np.zeros((3, 2, 2), np.uint8)
    first = describe_images(Images(pixels))
    assert first == describe_images(Images(pixels.copy()))
    pixels[2] = 1
    assert first[0] == 3 and first != describe_images(Images(pixels))
