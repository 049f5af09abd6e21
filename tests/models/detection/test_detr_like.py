"""One option gives stock DETRs another width, for an exact copy."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from tiny_detr import batch
from torch import nn
from torch.testing import assert_close

from lbbt_mm.language.checkpoint import language_config
from lbbt_mm.transplant import make_plan
from lbbt_mm.transplant.meta_model import build_on_meta_device

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
STOCK = {
    "DETR": "detr/detr_r50_8xb2-150e_coco.py",
    "ConditionalDETR": "conditional_detr/conditional-detr_r50_8xb2-50e_coco.py",
    "DABDETR": "dab_detr/dab-detr_r50_8xb2-50e_coco.py",
    "DeformableDETR": "deformable_detr/deformable-detr_r50_16xb2-50e_coco.py",
    "DINO": "dino/dino-4scale_r50_8xb2-12e_coco.py",
    "DDQDETR": "ddq/ddq-detr-4scale_r50_8xb2-12e_coco.py",
}
(FOLDER,) = importlib.util.find_spec("mmdet").submodule_search_locations


def stock(detector: str, **option) -> ConfigDict:
    """Change the type, and nothing else, of a stock config."""
    cfg = Config.fromfile(Path(FOLDER, ".mim/configs", STOCK[detector]))
    assert cfg.model.type == detector
    if option:
        change = dict(type="lbbt_mm.DETRLike", detector=detector, **option)
        cfg.merge_from_dict(dict(model=change))
    return cfg


class Source:
    """As complete as the file would be: the architecture decides."""

    source = MINILM
    config = language_config(MINILM)


# Where attention samples places, nothing of it compares with a language model's.
PARTS = {
    "DETR": ({}, {}),
    "ConditionalDETR": ({}, dict(cross_attention="skip")),
    "DABDETR": ({}, dict(cross_attention="skip")),
    "DeformableDETR": (dict(parts=["ffn", "norms"]), dict(cross_attention="skip")),
    "DINO": (dict(parts=["ffn", "norms"]), dict(cross_attention="skip")),
    "DDQDETR": (dict(parts=["ffn", "norms"]), dict(cross_attention="skip")),
}


@pytest.mark.parametrize("detector", STOCK)
def test_the_copy_is_exact(detector: str) -> None:
    model = build_on_meta_device(stock(detector, language_model=MINILM))
    encoder, decoder = PARTS[detector]
    copies = [
        dict(module="encoder.layers", blocks="0:6", **encoder),
        dict(module="decoder.layers", blocks="0:6", **decoder),
    ]
    # Conditional queries have projections of positions that no block has.
    extra = detector in ("ConditionalDETR", "DABDETR")
    plan = make_plan(model, Source(), copies, ["extra_parameters"] * extra)
    assert set(plan.inexact) == {"extra_parameters"} & set(["extra_parameters"] * extra)
    # What is 256 wide is not of the transformer.
    wide = [n for n, p in model.named_parameters() if 256 in p.shape]
    assert all(n.startswith("backbone") for n in wide), wide


@pytest.mark.parametrize("detector", STOCK)
def test_it_trains_and_predicts(detector: str) -> None:
    cfg = stock(detector, width=32, num_heads=4, ffn_channels=40)
    small = dict(num_layers=1, layer_cfg={})
    fewer = dict(num_queries=20, encoder=small, decoder=dict(small, num_layers=2))
    fewer |= dict(neck=dict(norm_cfg=None), test_cfg=dict(max_per_img=20))
    if detector in ("DINO", "DDQDETR"):
        fewer["dn_cfg"] = dict(group_cfg=dict(num_dn_queries=4))
    if detector == "DDQDETR":
        fewer |= dict(dense_topk_ratio=1.0)
    fewer["backbone"] = dict(depth=18, base_channels=8, stem_channels=8, init_cfg=None)
    cfg.merge_from_dict(dict(model=fewer))
    channels = [16, 32, 64][-len(cfg.model.neck.in_channels) :]
    cfg.model.neck.in_channels = channels
    init_default_scope("mmdet")
    model = MODELS.build(copy.deepcopy(cfg.model))
    assert type(model).__name__ == detector
    model.init_weights()
    assert model.embed_dims == 32
    data = batch((64, 96))
    losses = model(**model.data_preprocessor(data, True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    for name in ("encoder.layers.0.ffn", "decoder.layers.1.ffn", "neck"):
        parameters = list(model.get_submodule(name).parameters())
        assert all(p.grad is not None for p in parameters), name
    with torch.no_grad():
        (found,) = model.eval().test_step(batch((64, 96)))
    assert found.pred_instances.bboxes.shape[1] == 4


def test_conditional_detrs_decoder_is_mmdets_at_its_width() -> None:
    from mmdet.models.layers.transformer.conditional_detr_layers import (
        ConditionalDetrTransformerDecoder,
    )

    from lbbt_mm.models.detection.conditional_decoder import AnyWidthDecoder

    cfg = dict(stock("ConditionalDETR").model.decoder, num_layers=2)
    kinds = ConditionalDetrTransformerDecoder, AnyWidthDecoder
    theirs, ours = (kind(**copy.deepcopy(cfg)).eval() for kind in kinds)
    ours.load_state_dict(theirs.state_dict())
    inputs = (torch.randn(2, count, 256) for count in (3, 5, 3, 5))
    inputs = (*inputs, torch.arange(5).expand(2, 5) > 3)
    for found, wanted in zip(ours(*inputs), theirs(*inputs), strict=True):
        assert_close(found, wanted)


def test_gpt2_and_its_order_of_norms() -> None:
    cfg = stock("DETR", language_model="gpt2")
    cfg.model.detector = "lbbt_mm.PreNormDETR"
    model = build_on_meta_device(cfg)

    class GPT2:
        source, config = "gpt2", language_config("gpt2")

    copies = [dict(module="encoder.layers", blocks="0:6")]
    assert make_plan(model, GPT2(), copies).inexact == {}
    assert isinstance(model, nn.Module) and model.embed_dims == 768
    # The config itself stays, for whoever builds it again.
    assert cfg.model.neck.out_channels == 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(language_model=None), "expects language_model, or width, num_heads and"),
        (dict(width=32, num_heads=0, ffn_channels=8), "whole numbers above 0"),
        (dict(width=32, num_heads=-4, ffn_channels=8), "whole numbers above 0"),
        (dict(width=True, num_heads=1, ffn_channels=8), "whole numbers above 0"),
        (dict(language_model="gpt2", width=9), "have no effect beside language_model"),
        (dict(width=30, num_heads=4, ffn_channels=8), "do not divide into 4 heads"),
        (
            dict(language_model="gpt2", neck=None, bbox_head=None),
            "neck, bbox_head is not there",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused(change: dict, message: str) -> None:
    cfg = stock("DETR", language_model=None)
    cfg.model.update(change)
    with pytest.raises(ValueError, match=message):
        build_on_meta_device(cfg)


def test_two_stages_of_deformable_detr_fix_the_width() -> None:
    cfg = stock("DeformableDETR", language_model=MINILM)
    cfg.model.update(as_two_stage=True, with_box_refine=True)
    with pytest.raises(ValueError, match=r"describes proposals by 256 .* take DINO"):
        build_on_meta_device(cfg)
