"""A trained detector on another machine: its language model is not there."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path

import numpy as np
import torch
import transformers as hf
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch.testing import assert_close

IMAGE = np.random.RandomState(0).randint(0, 256, (32, 32, 3), np.uint8)
PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(32, 32), keep_ratio=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]


def detector(folder: str) -> Config:
    return Config(
        dict(
            default_scope="mmdet",
            model=dict(
                type="FCOS",
                data_preprocessor=dict(type="DetDataPreprocessor"),
                backbone=dict(
                    type="lbbt_mm.LanguageBackbone", language_model=folder,
                    img_size=32, patch_size=8, out_type="featmap",
                ),
                neck=dict(
                    type="ChannelMapper", in_channels=[32], kernel_size=1,
                    out_channels=32, num_outs=1,
                ),
                bbox_head=dict(
                    type="FCOSHead", num_classes=3, in_channels=32, stacked_convs=1,
                    feat_channels=32, strides=[8],
                    regress_ranges=((-1, 1e8),),
                ),
                test_cfg=dict(
                    score_thr=0.0, max_per_img=9, min_bbox_size=0,
                    nms=dict(type="nms", iou_threshold=0.5),
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type="CocoDataset", ann_file="gone.json", pipeline=PIPELINE
                )
            ),
            visualizer=dict(type="DetLocalVisualizer"),
        )
    )  # fmt: skip


def test_init_detector_and_inferencer(tmp_path: Path) -> None:
    from mmdet.apis import DetInferencer, inference_detector, init_detector
    from mmdet.registry import MODELS

    config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=32, vocab_size=8)
    folder, checkpoint = tmp_path / "gpt2", str(tmp_path / "epoch_1.pth")
    hf.GPT2Model(config).save_pretrained(folder)
    cfg = detector(str(folder))
    init_default_scope("mmdet")
    model = MODELS.build(copy.deepcopy(cfg.model))
    model.init_weights()
    classes = dict(classes=("a", "b", "c"), palette=[(0, 0, 0)] * 3)
    meta = dict(cfg=cfg.pretty_text, dataset_meta=classes)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    shutil.rmtree(folder)

    alone = init_detector(copy.deepcopy(cfg), checkpoint, device="cpu")
    for name, value in model.state_dict().items():
        assert_close(alone.state_dict()[name], value, rtol=0, atol=0)
    wanted = inference_detector(alone, IMAGE).pred_instances
    cfg.dump(tmp_path / "config.py")
    for named in (str(tmp_path / "config.py"), None):  # None: as the checkpoint says
        inferencer = DetInferencer(named, checkpoint, device="cpu", show_progress=False)
        (found,) = inferencer(IMAGE)["predictions"]
        assert_close(found["scores"], wanted.scores.tolist())
