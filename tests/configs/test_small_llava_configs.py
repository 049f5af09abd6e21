"""The small LLaVAs: each builds, initialisations differ in one key, stages chain."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from llava_tiny import write_chat_model
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope

from lbbt_mm.config import load_config
from lbbt_mm.config.names import changed_keys, effective
from lbbt_mm.config.run_name import run_name

from shipped import ENCODER, SCENES, load  # isort: skip

(STAGE1,) = SCENES.glob("llava/llava-smollm2_*_stage1_*.py")
(STAGE2,) = SCENES.glob("llava/llava-smollm2_*_stage2_*.py")
(TRANSFERRED,) = SCENES.glob("llava/langbridge-*-transferred_*.py")
SCRATCH, LANGBRIDGE = dict(pretrained=False), dict(langbridge=True)
MODELS_OF = {  # its name -> config, knobs
    "llava-smollm2_language_stage1": (STAGE1, {}),
    "llava-smollm2_scratch_stage1": (STAGE1, SCRATCH),
    "langbridge-smollm2_language_stage1": (STAGE1, LANGBRIDGE),
    "llava-smollm2_language_stage2": (STAGE2, {}),
    "llava-smollm2_scratch_stage2": (STAGE2, SCRATCH),
    "langbridge-smollm2_language_stage2": (STAGE2, LANGBRIDGE),
    "langbridge-small-gpt2_language_stage2-transferred": (TRANSFERRED, {}),
}
NEW = dict(transfer_projector=False)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_chat_model(tmp_path_factory.mktemp("answers"))


@pytest.mark.parametrize("name", MODELS_OF)
def test_it_builds_and_is_what_its_name_says(name: str, answers: str) -> None:
    path, knobs = MODELS_OF[name]
    assert run_name(path, knobs) == f"{name}_plain-questions"
    cfg = load_config(path, knobs)
    is_scratch, is_langbridge = "_scratch_" in name, "langbridge" in name
    assert cfg.model.vision_encoder.pretrained is not is_scratch
    assert (cfg.model.projector.type == "lbbt_mm.LangBridgeProjector") == is_langbridge
    check_what_the_knobs_change(path, knobs)
    check_where_it_starts(name, cfg)
    check_model(cfg, answers)


def check_what_the_knobs_change(path: Path, knobs: dict) -> None:
    found = changed_keys(effective(load(path)), effective(load_config(path, knobs)))
    # Each has its own files; the vision encoder of stage 1 has seen label maps.
    files = {"load_from", "model.vision_encoder.init_cfg.checkpoint"}
    kinds = {".".join(key.split(".")[:2]) for key in set(found) - files}
    expected = {"model.vision_encoder"} if knobs == SCRATCH else set()
    assert kinds == (expected if knobs != LANGBRIDGE else {"model.projector"})


def check_where_it_starts(name: str, cfg: Config) -> None:
    if name.endswith("_stage1"):
        kind = "scratch" if "_scratch_" in name else "language"
        seen = f"work_dirs/smollm2-b4_{kind}_1xb16-1200_plain-scenes/iter_1200.pth"
        assert cfg.model.vision_encoder.init_cfg.checkpoint == seen
    elif name.endswith("_stage2"):
        first = name.replace("_stage2", "_stage1")
        iters = load(STAGE1).train_cfg.max_iters
        there = f"work_dirs/{first}_plain-questions/iter_{iters}.pth"
        assert cfg.load_from == there


def check_model(cfg: Config, answers: str) -> None:
    model = copy.deepcopy(cfg.model)
    model.update(language_model=answers, dtype="float32")
    model.vision_encoder.update(pretrained=False, num_layers=1, init_cfg=None)
    if model.projector.type == "lbbt_mm.LangBridgeProjector":
        model.projector.vocabulary_size = 20
    built = MODELS.build(model)
    trained = {k: bool(v["trained"]) for k, v in built.trained_parameters.items()}
    assert trained == dict(
        vision_encoder=True, projector=True, language_model="train_language" in model
    )
    tile = cfg.train_dataloader.dataset.pipeline[0]
    assert built.vision_encoder.patch_embed.grid == (5, 5)
    assert tile.size == model.vision_encoder.img_size


def test_a_new_projector_stands_behind_the_same_vision_encoder() -> None:
    old, new = load(TRANSFERRED), load_config(TRANSFERRED, NEW)
    assert (old.model.vision_encoder.init_cfg, new.load_from) == (None, None)
    init = dict(new.model.vision_encoder.init_cfg)
    assert init.pop("checkpoint") == old.load_from
    assert init == dict(type="Pretrained", prefix="vision_encoder.")


def test_missing_questions_are_one_sentence(tmp_path) -> None:
    dataset = copy.deepcopy(load(STAGE2).val_dataloader.dataset)
    dataset.data_root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected an annotation file"):
        DATASETS.build(dataset)


def test_an_encoder_learns_label_maps_as_the_llava_has_it() -> None:
    from mmseg.registry import MODELS as SEGMENTERS

    cfg = copy.deepcopy(load(ENCODER))
    cfg.model.backbone.pretrained = False
    pixels = torch.zeros(2, 3, *cfg.model.data_preprocessor.size)
    init_default_scope("mmseg")
    model = SEGMENTERS.build(cfg.model)
    assert model.extract_feat(pixels)[0].shape == (2, 576, 5, 5)
    assert len(model.decode_head.forward(model.extract_feat(pixels))[0]) == 11
    # The weights fit into the encoder of the LLaVA that names them.
    encoder = load(STAGE1).model.vision_encoder
    iters = load(ENCODER).train_cfg.max_iters
    assert encoder.init_cfg.checkpoint == f"work_dirs/{ENCODER.stem}/iter_{iters}.pth"
    same = copy.deepcopy(encoder) | dict(pretrained=False, init_cfg=None)
    names = {f"backbone.{name}" for name in MODELS.build(same).state_dict()}
    assert names <= set(model.state_dict())


def test_encoders_differ_in_one_key() -> None:
    scratch = load_config(ENCODER, SCRATCH)
    key = "model.backbone.pretrained"
    assert changed_keys(effective(load(ENCODER)), effective(scratch)) == [key]
    assert run_name(ENCODER, SCRATCH) == "smollm2-b4_scratch_1xb16-1200_plain-scenes"
