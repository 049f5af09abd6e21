"""Tiny Segmenter and DETR runs, whose layers start from a language model."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, METRICS
from mmengine.structures import InstanceData, PixelData

WIDTH, HEADS, FFN = 32, 4, 128
GELU = dict(type="GELU")
LN = dict(type="LN", eps=1e-12)


def save_bert(folder: Path) -> str:
    """Write a small random BERT: exact in the stock layers of DETR."""
    torch.manual_seed(0)
    config = hf.BertConfig(
        hidden_size=WIDTH,
        intermediate_size=FFN,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        vocab_size=64,
        max_position_embeddings=64,
    )
    hf.BertModel(config).save_pretrained(folder)
    return str(folder)


class Images(torch.utils.data.Dataset):
    """Four random images, annotated for both tasks."""

    metainfo: dict[str, Any] = dict(classes=("a", "b", "c"), palette=[[0, 0, 0]] * 3)

    def __init__(self, task: str) -> None:
        self.task = task

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        image = torch.randint(0, 256, (3, 32, 32), generator=generator)
        size = dict(img_shape=(32, 32), ori_shape=(32, 32), pad_shape=(32, 32))
        if self.task == "segmenter":
            from mmseg.structures import SegDataSample

            sample = SegDataSample(metainfo=size)
            sample.gt_sem_seg = PixelData(data=image[:1] % 3)
        else:
            from mmdet.structures import DetDataSample

            sample = DetDataSample(metainfo=dict(size, scale_factor=(1.0, 1.0)))
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[2.0, 3.0, 20.0, 25.0]]),
                labels=torch.tensor([index % 3]),
            )
        return dict(inputs=image.to(torch.uint8), data_samples=sample)


class Count(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results.append(len(data_samples))

    def compute_metrics(self, results) -> dict[str, float]:
        return dict(images=sum(results))


for _registry, _kind in ((DATASETS, Images), (METRICS, Count)):
    if _kind.__name__ not in _registry.module_dict:
        _registry.register_module(name=_kind.__name__, module=_kind)


def segmenter() -> dict[str, Any]:
    return dict(
        type="mmseg.EncoderDecoder",
        data_preprocessor=dict(type="mmseg.SegDataPreProcessor", size=(32, 32)),
        backbone=dict(
            type="mmseg.VisionTransformer", img_size=(32, 32), patch_size=16,
            embed_dims=16, num_layers=1, num_heads=2, final_norm=True,
        ),
        decode_head=dict(
            type="mmseg.SegmenterMaskTransformerHead", in_channels=16, channels=16,
            num_classes=3, num_layers=2, num_heads=HEADS, embed_dims=WIDTH,
            drop_path_rate=0.0, act_cfg=GELU, norm_cfg=LN,
            loss_decode=dict(type="mmseg.CrossEntropyLoss"),
        ),
        test_cfg=dict(mode="whole"),
    )  # fmt: skip


def detr() -> dict[str, Any]:
    attention = dict(embed_dims=WIDTH, num_heads=HEADS, dropout=0.0)
    ffn = dict(
        embed_dims=WIDTH, feedforward_channels=FFN, num_fcs=2, ffn_drop=0.0,
        act_cfg=GELU,
    )  # fmt: skip
    return dict(
        type="mmdet.DETR",
        num_queries=4,
        data_preprocessor=dict(type="mmdet.DetDataPreprocessor"),
        backbone=dict(
            type="mmdet.ResNet", depth=18, base_channels=8, num_stages=1, strides=(1,),
            dilations=(1,), out_indices=(0,),
        ),
        neck=dict(
            type="mmdet.ChannelMapper", in_channels=[8], kernel_size=1,
            out_channels=WIDTH, act_cfg=None, norm_cfg=None, num_outs=1,
        ),
        encoder=dict(
            num_layers=2,
            layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn, norm_cfg=LN),
        ),
        decoder=dict(
            num_layers=2,
            layer_cfg=dict(
                self_attn_cfg=dict(attention), cross_attn_cfg=dict(attention),
                ffn_cfg=ffn, norm_cfg=LN,
            ),
            return_intermediate=True,
        ),
        positional_encoding=dict(num_feats=WIDTH // 2, normalize=True),
        bbox_head=dict(
            type="mmdet.DETRHead", num_classes=3, embed_dims=WIDTH,
            loss_cls=dict(
                type="mmdet.CrossEntropyLoss", bg_cls_weight=0.1, class_weight=1.0
            ),
            loss_bbox=dict(type="mmdet.L1Loss", loss_weight=5.0),
            loss_iou=dict(type="mmdet.GIoULoss", loss_weight=2.0),
        ),
        train_cfg=dict(
            assigner=dict(
                type="mmdet.HungarianAssigner",
                match_costs=[
                    dict(type="mmdet.ClassificationCost", weight=1.0),
                    dict(type="mmdet.BBoxL1Cost", weight=5.0, box_format="xywh"),
                ],
            )
        ),
        test_cfg=dict(max_per_img=4),
    )  # fmt: skip


# The order of norms differs in the Segmenter head: pre-norm layers, a post-norm BERT.
COPIES = dict(
    segmenter=dict(copies=[dict(module="decode_head.layers")], accept=["norm_order"]),
    detr=dict(
        copies=[dict(module="encoder.layers"), dict(module="decoder.layers")],
    ),
)


def config(task: str, language_model: str, work_dir: Path, **more: Any) -> Config:
    """Write a whole config; ``more`` is merged into it by dotted keys."""
    data = dict(
        batch_size=2,
        num_workers=0,
        dataset=dict(type="Images", task=task),
        collate_fn=dict(type="pseudo_collate"),
    )
    cfg = Config(
        dict(
            default_scope="mmengine",
            model=dict(segmenter=segmenter, detr=detr)[task](),
            train_dataloader=dict(
                data, sampler=dict(type="DefaultSampler", shuffle=True)
            ),
            val_dataloader=dict(
                data, sampler=dict(type="DefaultSampler", shuffle=False)
            ),
            val_evaluator=dict(type="Count"),
            train_cfg=dict(by_epoch=True, max_epochs=1, val_interval=1),
            val_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3)),
            custom_hooks=[
                dict(
                    type="lbbt_mm.LanguageInitHook",
                    language_model=language_model,
                    **copy.deepcopy(COPIES[task]),
                )
            ],
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
            randomness=dict(seed=0),
            work_dir=str(work_dir),
        )
    )
    cfg.merge_from_dict(more)
    return cfg


class Snapshot(Hook):
    """Keeps the weights as the first batch finds them."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.state: dict[str, torch.Tensor] | None = None

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.state is None:
            self.state = copy.deepcopy(runner.model.state_dict())
