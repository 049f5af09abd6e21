"""Finished runs of a small detector and a small segmenter, without training them."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.registry import MODELS, init_default_scope

from lbbt_mm.config import load_config

ROOT = Path(__file__).resolve().parents[1]
LEAVES = dict(
    detr="detr/detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py",
    segmenter="segmenter/segmenter-r18_small-gpt2_language_1xb8-1k_fashion-scenes.py",
)


def finished_run(task: str, scenes: Path, folder: Path) -> Path:
    """A shipped config, its model untrained, as a training leaves them."""
    path = ROOT / "projects/fashion_scenes/configs" / LEAVES[task]
    cfg = load_config(path, {"pretrained": False})
    cfg.model.backbone.update(base_channels=8, num_stages=1, out_indices=(0,))
    cfg.model.backbone.update(strides=(1,), dilations=(1,))
    if task == "detr":
        cfg.model.neck.in_channels = [8]
        cfg.model.encoder.num_layers = cfg.model.decoder.num_layers = 1
        cfg.test_evaluator.ann_file = str(scenes / "detection/val.json")
    else:
        cfg.model.decode_head.update(in_channels=8, channels=8, num_layers=1)
    cfg.test_dataloader.dataset.data_root = str(scenes)
    cfg.work_dir = str(folder)
    folder.mkdir()
    cfg.dump(folder / "config.py")
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None  # the finished run needs no other file
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), folder / "iter_9.pth")
    (folder / "last_checkpoint").write_text(str(folder / "iter_9.pth"))
    return folder
