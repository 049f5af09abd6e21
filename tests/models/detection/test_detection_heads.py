"""Feature maps of a language model under mmdet's own detectors."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData


def test_trains_under_a_detector_of_mmdet() -> None:
    from mmdet.registry import MODELS
    from mmdet.structures import DetDataSample
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    init_default_scope("mmdet")
    model = MODELS.build(
        dict(
            type="FCOS",
            backbone=dict(
                type="lbbt_mm.LanguageBackbone",
                language_model="distilgpt2",
                pretrained=False,
                num_layers=2,
                img_size=64,
                out_type="featmap",
                out_indices=[0, 1],
            ),
            neck=dict(
                type="FPN",
                in_channels=[768, 768],
                out_channels=32,
                num_outs=2,
                upsample_cfg=dict(mode="nearest"),
            ),
            bbox_head=dict(
                type="FCOSHead",
                num_classes=5,
                in_channels=32,
                feat_channels=32,
                strides=[16, 16],
                regress_ranges=((-1, 64), (64, 1e8)),
                stacked_convs=1,
            ),
            test_cfg=Config(
                dict(
                    nms_pre=10,
                    score_thr=0.0,
                    nms=dict(type="nms", iou_threshold=0.5),
                    max_per_img=10,
                )
            ),
        )
    )
    model.init_weights()
    sample = DetDataSample(
        metainfo=dict(
            img_shape=(64, 80),
            pad_shape=(64, 80),
            ori_shape=(64, 80),
            batch_input_shape=(64, 80),
            scale_factor=(1.0, 1.0),
        )
    )
    boxes = torch.tensor([[5.0, 5.0, 40.0, 50.0]])
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([2]))
    losses = model(torch.randn(1, 3, 64, 80), [sample], mode="loss")
    sum(v.sum() for v in losses.values()).backward()
    assert model.backbone.patch_embed.projection.weight.grad is not None
    model.eval()
    (found,) = model(torch.randn(1, 3, 64, 80), [sample], mode="predict")
    assert hasattr(found.pred_instances, "bboxes")
