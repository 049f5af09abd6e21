"""The six lines of docs/plug_in.md in each stock config of its table."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData, PixelData
from torch import nn

TEXT = (
    Path(__file__).resolve().parents[3].joinpath("docs/plug_in.md").read_text("utf-8")
)
ROWS = re.findall(
    r"^\| (mm\w+): `(\S+\.py)` \| `(\([\d, ]+\))` \| (.*?) ?\|$", TEXT, flags=re.M
)
(LINES,) = re.findall(
    r"```python\n_base_ = \S+\n(view = .*?SimpleFeaturePyramid.*?)```",
    TEXT,
    flags=re.S,
)
SIZE = 64, 96
# Fewer layers, queries and channels, where a step would take seconds.
FEWER = {
    "dino": dict(
        num_queries=12,
        encoder=dict(num_layers=1),
        decoder=dict(num_layers=2),
        dn_cfg=dict(group_cfg=dict(num_dn_queries=4)),
    ),
    "retinanet": dict(bbox_head=dict(stacked_convs=1)),
    "faster_rcnn": dict(roi_head=dict(bbox_head=dict(fc_out_channels=8))),
    "mask_rcnn": dict(
        roi_head=dict(bbox_head=dict(fc_out_channels=8), mask_head=dict(num_convs=1))
    ),
    "upernet": dict(
        decode_head=dict(channels=8, norm_cfg=dict(type="BN")),
        auxiliary_head=dict(channels=8, norm_cfg=dict(type="BN")),
    ),
}
MASK2FORMER = dict(
    num_queries=6,
    pixel_decoder=dict(encoder=dict(num_layers=1)),
    transformer_decoder=dict(num_layers=1),
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("models") / "gpt2"
    config = hf.GPT2Config(n_embd=32, n_layer=5, n_head=2, n_positions=64, vocab_size=9)
    hf.GPT2Model(config).save_pretrained(folder)
    return str(folder)


def build(row: tuple[str, ...], tiny: str) -> nn.Module:
    """Add the six lines and the row's to the stock config, as the docs say."""
    package, name, strides, more = row
    lines: dict = {}
    exec(compile(LINES, "docs/plug_in.md", "exec"), lines)
    lines["neck"]["strides"] = eval(strides)
    exec(LINES.strip().splitlines()[-1], lines)
    change = lines["model"] | eval(f"dict({more.strip('`')})", lines)
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    cfg = Config.fromfile(Path(folder, ".mim/configs", name))
    cfg.merge_from_dict(dict(model=change))
    # From here on it is made small, batches first: they would be padded.
    pad = dict(size=SIZE) if package == "mmseg" else dict(batch_augments=None)
    fewer = FEWER.get(name.partition("/")[0], {})
    if name.startswith("mask2former"):
        head = "panoptic_head" if package == "mmdet" else "decode_head"
        fewer = {head: MASK2FORMER}
    small = dict(language_model=tiny, img_size=64, window_size=3, global_blocks=1)
    cfg.merge_from_dict(
        dict(
            model=dict(
                fewer, backbone=small, neck=dict(in_channels=32), data_preprocessor=pad
            )
        )
    )
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def data_of(package: str, name: str) -> dict:
    image = torch.randint(0, 256, (3, *SIZE), dtype=torch.uint8)
    if package == "mmseg":
        from mmseg.structures import SegDataSample

        sample = SegDataSample(metainfo=dict(img_shape=SIZE, ori_shape=SIZE))
        labels = torch.zeros(1, *SIZE, dtype=torch.long)
        labels[:, 20:40, 30:60] = 3
        sample.gt_sem_seg = PixelData(data=labels)
        return dict(inputs=[image, image], data_samples=[sample, sample.clone()])
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    meta = dict(img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0), img_id=0)
    sample = DetDataSample(metainfo=meta)
    masks = np.zeros((1, *SIZE), np.uint8)
    masks[:, 20:40, 30:60] = 1
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[30.0, 20.0, 60.0, 40.0]]),
        labels=torch.tensor([2]),
        masks=BitmapMasks(masks, *SIZE),
    )
    return dict(inputs=[image], data_samples=[sample])


@functools.cache
def known(package: str) -> None:
    module = importlib.import_module(f"{package}.utils")
    module.register_all_modules(init_default_scope=False)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "-".join(row[:2])[:30])
def test_a_stock_config_trains_and_predicts(row, tiny) -> None:
    known(row[0])
    model = build(row, tiny)
    assert model.backbone.global_blocks == [4] and model.backbone.num_layers == 5
    data = data_of(*row[:2])
    batch = model.data_preprocessor(data, True)
    losses = model(**batch, mode="loss")
    total = model.parse_losses(losses)[0]
    total.backward()
    assert total.isfinite()
    without = [
        n for n, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]
    # Mask2Former's and DINO's own; of ours every parameter trains.
    assert not [name for name in without if name.startswith(("backbone", "neck"))]
    model.eval()
    with torch.no_grad():
        found = model.test_step(data_of(*row[:2]))
    assert hasattr(found[0], "pred_sem_seg" if row[0] == "mmseg" else "pred_instances")


def test_the_strides_are_those_that_the_heads_count_on() -> None:
    lines = LINES.strip().splitlines()
    assert len(lines) == 6 and len(ROWS) == 7
    for package, name, strides, _ in ROWS:
        (folder,) = importlib.util.find_spec(package).submodule_search_locations
        text = str(Config.fromfile(Path(folder, ".mim/configs", name)).model)
        said = [
            eval(found.replace("[", "(").replace("]", ",)"))
            for found in re.findall(r"'(?:featmap_)?strides': (\[[\d, ]+\])", text)
        ]
        assert all(set(one) <= set(eval(strides)) for one in said)
        assert said or name.startswith(("dino", "upernet"))
