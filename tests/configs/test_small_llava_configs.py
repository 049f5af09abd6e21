"""The small LLaVAs: each builds, initialisations differ in one key, stages chain."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from llava_tiny import write_chat_model
from mmengine.registry import DATASETS, MODELS, init_default_scope

from shipped import ENCODERS, LLAVA, differences, load  # isort: skip

SMALL = [path for path in LLAVA if "plain-questions" in path.stem]
SECOND = [path for path in SMALL if "_stage2_" in path.stem]
each = dict(ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_chat_model(tmp_path_factory.mktemp("answers"))


@pytest.mark.parametrize("path", SMALL, **each)
def test_it_builds_and_is_what_its_name_says(path: Path, answers: str) -> None:
    check_model(path, answers)
    if "_scratch_" in path.stem:
        check_initialisations_differ_in_one_key(path)
    if path in SECOND:
        check_it_starts_from_the_first_stage(path)


def check_model(path: Path, answers: str) -> None:
    cfg = copy.deepcopy(load(path))
    model = cfg.model
    model.update(language_model=answers, dtype="float32")
    model.vision_encoder.update(pretrained=False, num_layers=1, init_cfg=None)
    if "langbridge" in path.stem:
        model.projector.vocabulary_size = 20
    built = MODELS.build(model)
    trained = {k: bool(v["trained"]) for k, v in built.trained_parameters.items()}
    assert trained == dict(
        vision_encoder=True, projector=True, language_model="_stage2" in path.stem
    )
    tile = cfg.train_dataloader.dataset.pipeline[0]
    assert built.vision_encoder.patch_embed.grid == (5, 5)
    assert tile.size == model.vision_encoder.img_size


def check_initialisations_differ_in_one_key(path: Path) -> None:
    language = path.with_name(path.name.replace("_scratch_", "_language_"))
    found = differences(path, language).keys()
    # Each has its own files; the vision encoder of stage 1 has seen label maps.
    files = {"load_from", "stage1", "model.vision_encoder.init_cfg.checkpoint"}
    files |= {k for k in found if k.split(".")[0] in ("encoder", "encoder_checkpoint")}
    assert found - files == {"model.vision_encoder.pretrained"}


def check_it_starts_from_the_first_stage(path: Path) -> None:
    first = path.with_name(path.name.replace("_stage2_", "_stage1_"))
    iters = load(first).train_cfg.max_iters
    assert load(path).load_from == f"work_dirs/{first.stem}/iter_{iters}.pth"


def test_missing_questions_are_one_sentence(tmp_path) -> None:
    dataset = copy.deepcopy(load(SECOND[0]).val_dataloader.dataset)
    dataset.data_root = str(tmp_path)
    with pytest.raises(FileNotFoundError, match="Expected an annotation file"):
        DATASETS.build(dataset)


@pytest.mark.parametrize("path", ENCODERS, **each)
def test_an_encoder_learns_label_maps_as_the_llava_has_it(path: Path) -> None:
    from mmseg.registry import MODELS as SEGMENTERS

    cfg = copy.deepcopy(load(path))
    cfg.model.backbone.pretrained = False
    pixels = torch.zeros(2, 3, *cfg.model.data_preprocessor.size)
    init_default_scope("mmseg")
    model = SEGMENTERS.build(cfg.model)
    assert model.extract_feat(pixels)[0].shape == (2, 576, 5, 5)
    assert len(model.decode_head.forward(model.extract_feat(pixels))[0]) == 11
    # The weights fit into the encoder of the LLaVA that names them.
    kind = "scratch" if "_scratch_" in path.stem else "language"
    leaf = f"llava/llava-smollm2_{kind}_stage1_plain-questions.py"
    encoder = load(path.parents[1] / leaf).model.vision_encoder
    iters = load(path).train_cfg.max_iters
    assert encoder.init_cfg.checkpoint == f"work_dirs/{path.stem}/iter_{iters}.pth"
    same = copy.deepcopy(encoder) | dict(pretrained=False, init_cfg=None)
    names = {f"backbone.{name}" for name in MODELS.build(same).state_dict()}
    assert names <= set(model.state_dict())


def test_encoders_differ_in_one_key() -> None:
    assert differences(*ENCODERS).keys() == {"model.backbone.pretrained"}
