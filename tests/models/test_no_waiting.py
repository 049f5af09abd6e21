"""A step of a classifier reads nothing from the device, and computes the same."""

from __future__ import annotations

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode

import lbbt_mm
from lbbt_mm.metrics import BridgeAccuracy
from lbbt_mm.optim import AutocastOptimWrapper

CLASSES = 3


class Reads(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def classifier(scope: str):
    init_default_scope("mmpretrain")
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type="ImageClassifier",
            data_preprocessor=dict(
                type=f"{scope}ClsDataPreprocessor", mean=[127.0] * 3, std=[64.0] * 3
            ),
            backbone=dict(
                type="lbbt_mm.LanguageBackbone",
                language_model="gpt2",
                pretrained=False,
                num_layers=1,
                img_size=16,
                patch_size=8,
                drop_path_rate=0.1,
            ),
            head=dict(
                type="LinearClsHead",
                num_classes=CLASSES,
                in_channels=768,
                cal_acc=True,
                loss=dict(
                    type=f"{scope}LabelSmoothLoss",
                    label_smooth_val=0.1,
                    mode="original",
                ),
            ),
        )
    )
    model.init_weights()
    return model.train()


def batch() -> dict:
    labels = [DataSample().set_gt_label(i % CLASSES) for i in range(4)]
    images = torch.randint(0, 256, (4, 3, 16, 16), dtype=torch.uint8)
    return dict(inputs=images, data_samples=labels)


def step(scope: str) -> tuple[dict, int]:
    model = classifier(scope)
    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.AdamW(model.parameters(), 1e-3, fused=True),
        clip_grad=dict(max_norm=1.0),
    )
    torch.manual_seed(1)
    model.train_step(batch(), wrapper)  # which has named the norm
    with Reads() as reads:
        found = model.train_step(batch(), wrapper)
    return found, reads.count


def test_a_step_reads_nothing_and_its_numbers_are_mmpretrains() -> None:
    theirs, reads = step("")
    ours, none = step("lbbt_mm.")
    assert none == 0 and reads > 0
    assert set(ours) == {"loss", "accuracy_top-1"}
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("mode", ["original", "classy_vision", "multi_label"])
def test_losses_are_equal_in_every_mode(mode) -> None:
    init_default_scope("mmpretrain")
    scores = torch.randn(5, CLASSES)
    for labels in (torch.tensor([0, 2, 1, 1, 0]), torch.rand(5, CLASSES)):
        ours, theirs = (
            MODELS.build(
                dict(type=f"{scope}LabelSmoothLoss", label_smooth_val=0.2, mode=mode)
            )(scores, labels)
            for scope in ("lbbt_mm.", "")
        )
        assert torch.equal(ours, theirs)


def test_a_label_that_is_no_class_is_an_error() -> None:
    loss = lbbt_mm.LabelSmoothLoss(label_smooth_val=0.1)
    with pytest.raises(RuntimeError, match="out of bounds"):
        loss(torch.randn(2, CLASSES), torch.tensor([0, CLASSES]))


@pytest.mark.parametrize("listed", [False, True])
def test_a_batch_goes_to_another_device(listed) -> None:
    """The meta device stands for a GPU: shapes, and one copy of all labels."""
    preprocessor = lbbt_mm.ClsDataPreprocessor(num_classes=CLASSES).to("meta")
    data = batch()
    images = list(data["inputs"]) if listed else data["inputs"]
    found = preprocessor(dict(data, inputs=images), training=True)
    assert found["inputs"].device.type == "meta"
    assert found["inputs"].shape == (4, 3, 16, 16)
    for sample in found["data_samples"]:
        assert sample.gt_label.device.type == "meta" and sample.gt_label.shape == (1,)


@pytest.mark.parametrize("labels", [[[0, 1], [1]], [None, None]])
def test_other_labels_go_as_inherited(labels) -> None:
    samples = [DataSample() for _ in labels]
    for sample, label in zip(samples, labels, strict=True):
        if label is not None:
            sample.set_gt_label(label)
    preprocessor = lbbt_mm.ClsDataPreprocessor(num_classes=CLASSES).to("meta")
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    found = preprocessor(dict(inputs=images, data_samples=samples))["data_samples"]
    sizes = [len(s.gt_label) if "gt_label" in s else None for s in found]
    assert sizes == [None if label is None else len(label) for label in labels]


def test_a_metric_fetches_a_batch_and_not_an_image() -> None:
    fetched: list[tuple] = []

    class Far(torch.Tensor):
        def cpu(self):
            fetched.append(tuple(self.shape))
            return self.as_subclass(torch.Tensor)

    samples = [
        dict(
            pred_score=torch.eye(CLASSES)[i % CLASSES].as_subclass(Far),
            gt_label=torch.tensor([0]).as_subclass(Far),
            true_label=i % CLASSES,  # packed as a number: stays as it is
        )
        for i in range(6)
    ]
    metric = BridgeAccuracy()
    metric.process(None, samples)
    assert fetched == [(6, CLASSES), (6, 1)]
    found = metric.compute_metrics(metric.results)
    assert found["random_label/top1"] == pytest.approx(100 / 3)
    assert found["true_label/top1"] == 100
