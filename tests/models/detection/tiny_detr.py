"""A DETR of a few thousand parameters, in the words of mmdet's own config."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor, nn

WIDTH, HEADS, FFN = 32, 4, 48
CLASSES = 5
OURS = ["lbbt_mm.FusedDETR", "lbbt_mm.PreNormDETR"]
# Heights and widths of a batch: with padding, and of a single image.
UNEQUAL, ONE = ((64, 96), (96, 64)), ((64, 96),)


def attention(dropout: float) -> dict[str, Any]:
    return dict(embed_dims=WIDTH, num_heads=HEADS, dropout=dropout, batch_first=True)


def ffn(dropout: float, act_cfg: dict[str, Any]) -> dict[str, Any]:
    return dict(
        embed_dims=WIDTH,
        feedforward_channels=FFN,
        num_fcs=2,
        ffn_drop=dropout,
        act_cfg=act_cfg,
    )


def detr_config(
    kind: str,
    dropout: float = 0.0,
    act_cfg: dict[str, Any] | None = None,
    norm_cfg: dict[str, Any] | None = None,
) -> ConfigDict:
    """mmdet's ``configs/detr/detr_r50_8xb2-150e_coco.py``, made small."""
    common = dict(
        ffn_cfg=ffn(dropout, act_cfg or dict(type="ReLU", inplace=True)),
        norm_cfg=norm_cfg or dict(type="LN"),
    )
    return ConfigDict(
        type=kind,
        num_queries=6,
        data_preprocessor=dict(type="DetDataPreprocessor", pad_size_divisor=1),
        backbone=dict(
            type="ResNet",
            depth=18,
            stem_channels=4,
            base_channels=4,
            num_stages=4,
            strides=(1, 2, 2, 2),
            out_indices=(3,),
            norm_cfg=dict(type="BN", requires_grad=False),
            norm_eval=True,
        ),
        neck=dict(
            type="ChannelMapper",
            in_channels=[32],
            kernel_size=1,
            out_channels=WIDTH,
            act_cfg=None,
            norm_cfg=None,
            num_outs=1,
        ),
        encoder=dict(
            num_layers=2,
            layer_cfg=dict(self_attn_cfg=attention(dropout), **common),
        ),
        decoder=dict(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=attention(dropout),
                cross_attn_cfg=attention(dropout),
                **common,
            ),
            return_intermediate=True,
        ),
        positional_encoding=dict(num_feats=WIDTH // 2, normalize=True),
        bbox_head=dict(
            type="DETRHead",
            num_classes=CLASSES,
            embed_dims=WIDTH,
            loss_cls=dict(
                type="CrossEntropyLoss",
                bg_cls_weight=0.1,
                use_sigmoid=False,
                loss_weight=1.0,
                class_weight=1.0,
            ),
            loss_bbox=dict(type="L1Loss", loss_weight=5.0),
            loss_iou=dict(type="GIoULoss", loss_weight=2.0),
        ),
        train_cfg=dict(
            assigner=dict(
                type="HungarianAssigner",
                match_costs=[
                    dict(type="ClassificationCost", weight=1.0),
                    dict(type="BBoxL1Cost", weight=5.0, box_format="xywh"),
                    dict(type="IoUCost", iou_mode="giou", weight=2.0),
                ],
            )
        ),
        test_cfg=dict(max_per_img=6),
    )


def build_detr(kind: str, **changes: Any) -> nn.Module:
    """Build and initialise a detector from one seed; norms and biases are random."""
    init_default_scope("mmdet")
    torch.manual_seed(0)
    model = MODELS.build(detr_config(kind, **changes))
    model.init_weights()
    scramble(model)
    return model


@torch.no_grad()
def scramble(module: nn.Module) -> None:
    """Move norms and biases away from one and zero, so that mistakes are visible."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)


def batch(*sizes: tuple[int, int]) -> dict[str, list]:
    """Random images of these heights and widths with one box each."""
    from mmdet.structures import DetDataSample

    generator = torch.Generator().manual_seed(2)
    inputs, samples = [], []
    for height, width in sizes:
        inputs.append(torch.randn(3, height, width, generator=generator))
        sample = DetDataSample(
            metainfo=dict(
                img_id=len(samples),
                img_shape=(height, width),
                ori_shape=(height, width),
                scale_factor=(1.0, 1.0),
            )
        )
        box = torch.tensor([[4.0, 4.0, width - 8.0, height - 8.0]])
        sample.gt_instances = InstanceData(
            bboxes=box, labels=torch.tensor([len(samples) % CLASSES])
        )
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def head_outputs(model: nn.Module, data: dict[str, list]) -> tuple[Tensor, Tensor]:
    """Class logits and boxes of every decoder layer."""
    data = model.data_preprocessor(data, model.training)
    features = model.extract_feat(data["inputs"])
    hidden = model.forward_transformer(features, data["data_samples"])
    return model.bbox_head(**hidden)
