"""Autocast ends before heads that make anchors or points in their scores' precision."""

from __future__ import annotations

import pytest
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.utils import register_all_modules
from mmengine.config import ConfigDict
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from lbbt_mm.optim import AutocastOptimWrapper
from lbbt_mm.optim.box_heads import autocast, parts_before_boxes

SIDE = 512  # pixels: in bfloat16 a place beyond 256 is even
BACKBONE = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model="distilgpt2",
    pretrained=False,
    num_layers=1,
    img_size=SIDE,
    patch_size=64,
    attention="bidirectional",
    position="none",
    out_type="featmap",
)
NECK = dict(type="lbbt_mm.SimpleFeaturePyramid", in_channels=768, out_channels=8)
NECK |= dict(in_stride=64, strides=(64, 128))


@pytest.fixture(scope="module")
def detector():
    """A RetinaNet whose boxes are its anchors: it moves none."""
    register_all_modules(init_default_scope=False)
    init_default_scope("mmdet")
    head = dict(type="RetinaHead", num_classes=2, in_channels=8, feat_channels=8)
    head["stacked_convs"] = 1
    head["anchor_generator"] = dict(
        type="AnchorGenerator", scales=[1.37], ratios=[1.0], strides=[64, 128]
    )
    test_cfg = dict(nms_pre=100, score_thr=0.0, max_per_img=100)
    test_cfg["nms"] = dict(type="nms", iou_threshold=0.9)
    assigner = dict(type="MaxIoUAssigner", pos_iou_thr=0.5, neg_iou_thr=0.4)
    train_cfg = dict(assigner=dict(assigner, min_pos_iou=0, ignore_iof_thr=-1))
    train_cfg |= dict(
        sampler=dict(type="PseudoSampler"), allowed_border=-1, pos_weight=-1
    )
    model = MODELS.build(
        ConfigDict(
            type="RetinaNet",
            data_preprocessor=dict(type="DetDataPreprocessor"),
            backbone=BACKBONE,
            neck=NECK,
            bbox_head=head,
            train_cfg=train_cfg,
            test_cfg=test_cfg,
        )
    )
    model.init_weights()
    for parameter in model.bbox_head.retina_reg.parameters():
        parameter.data.zero_()
    return model


def batch() -> dict:
    meta = dict(img_shape=(SIDE, SIDE), ori_shape=(SIDE, SIDE), img_id=0)
    sample = DetDataSample(metainfo=dict(meta, scale_factor=(1.0, 1.0)))
    boxes = torch.tensor([[301.0, 200.0, 388.0, 280.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([1]))
    image = torch.randint(0, 256, (3, SIDE, SIDE), generator=torch.manual_seed(0))
    return dict(inputs=[image], data_samples=[sample])


@pytest.fixture
def seen(detector):
    """The precision inside of the backbone, in front of the head and behind it."""
    seen: dict[str, torch.dtype] = {}

    def inside(_, __, out) -> None:
        seen["backbone"] = out.dtype

    def around(_, given, out) -> None:
        seen["head"], seen["boxes"] = given[0][0].dtype, out[1][0].dtype

    inner = detector.backbone.patch_embed.projection.register_forward_hook(inside)
    outer = detector.bbox_head.register_forward_hook(around)
    yield seen
    inner.remove()
    outer.remove()


WANTED = dict(backbone=torch.bfloat16, head=torch.float32, boxes=torch.float32)


def test_a_training_step_ends_it_before_the_head(detector, seen) -> None:
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.0)
    wrapper = AutocastOptimWrapper(optimizer=optimizer)
    losses = detector.train().train_step(batch(), wrapper)
    assert seen == WANTED and losses["loss"].isfinite()
    assert not detector.backbone._forward_hooks and not detector.neck._forward_hooks


@pytest.mark.parametrize("kind", ["val", "test"])
def test_boxes_are_where_they_are_in_float32(
    detector, seen, monkeypatch, tmp_path, kind
) -> None:
    detector.eval()
    with torch.no_grad():
        (wanted,) = detector.test_step(batch())
    found = []
    monkeypatch.setattr(
        Evaluator, "process", lambda _, data_samples, **__: found.extend(data_samples)
    )
    runner = Runner(
        detector,
        str(tmp_path),
        **{
            f"{kind}_dataloader": dict(
                dataset=[{k: v[0] for k, v in batch().items()}],
                collate_fn=dict(type="pseudo_collate"),
                sampler=dict(type="DefaultSampler", shuffle=False),
            ),
            f"{kind}_cfg": dict(type=f"lbbt_mm.Autocast{kind.title()}Loop"),
            f"{kind}_evaluator": Evaluator([]),
        },
        default_scope="mmdet",
        experiment_name=f"{tmp_path.name}-{kind}",
    )
    getattr(runner, kind)()
    assert seen == WANTED
    boxes = [
        {tuple(box) for box in one.pred_instances.bboxes.tolist()}
        for one in (found[0], wanted)
    ]
    assert len(boxes[1]) > 50 and boxes[0] == boxes[1]
    assert any(side % 2 for box in boxes[0] for side in box if side > 256)


def test_what_has_no_such_head_is_under_autocast_as_a_whole() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(2, 2))
    assert parts_before_boxes(model) == []
    with autocast(model, "cpu", torch.bfloat16):
        assert model(torch.ones(1, 2)).dtype is torch.bfloat16
    with autocast(model, "cpu", torch.float32):
        assert model(torch.ones(1, 2)).dtype is torch.float32


def test_an_error_in_the_backbone_leaves_no_autocast_behind(detector) -> None:
    with (
        pytest.raises(Exception, match="channels|size"),
        autocast(detector, "cpu", torch.bfloat16),
    ):
        detector.backbone(torch.zeros(1, 1, SIDE, SIDE))
    assert not torch.is_autocast_enabled("cpu")
    assert not detector.backbone._forward_hooks
