"""What a checkpoint of a LLaVA holds, and what may be loaded into which."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from llava_tiny import build_llava, collate, mixed_samples, write_chat_model
from mmengine.runner.checkpoint import get_state_dict, load_state_dict
from torch.testing import assert_close

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.record import decode_record
from lbbt_mm.models.multimodal.llava_parts import RECORD

LORA = dict(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
LANG_BRIDGE = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=16)


def changed(model: Any) -> Any:
    """Every parameter that trains is another one."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    return model


def everything(model: Any) -> dict[str, torch.Tensor]:
    """All parameters and entries, whether checkpoints hold them or not."""
    found = dict(model.named_parameters(remove_duplicate=False))
    return {name: value.detach().clone() for name, value in found.items()}


def parts(state: dict) -> set[str]:
    return {name.partition(".")[0] for name in state}


def by_torch(model: Any, state: dict) -> None:
    model.load_state_dict(state)  # strict


def by_mmengine(model: Any, state: dict) -> None:
    load_state_dict(model, state)  # as Runner.load_checkpoint: not strict


load_either_way = pytest.mark.parametrize("load", [by_torch, by_mmengine])


@pytest.mark.parametrize("read", [lambda m: m.state_dict(), get_state_dict])
def test_what_is_held(chat_model: str, read: Any) -> None:
    for options, held in (
        ({}, {"vision_encoder", "projector", RECORD}),
        (dict(train_encoder=False), {"projector", RECORD}),
        (dict(train_encoder=False, grid_pinpoints=[(16, 32)]),
         {"projector", "image_newline", RECORD}),
        (dict(train_encoder=False, projector=LANG_BRIDGE), {"projector", RECORD}),
        (dict(train_language="all", train_encoder=False),
         {"projector", "language_model", RECORD}),
        (dict(train_language=LORA, train_encoder=False, train_projector=False),
         {"language_model", RECORD}),
    ):  # fmt: skip
        model = build_llava(chat_model, **options)
        state = read(model)
        assert parts(state) == held
        language = {name for name in state if name.startswith("language_model")}
        named = model.named_parameters(remove_duplicate=False)
        trained = {
            n for n, p in named if p.requires_grad and "language_model" in n[:15]
        }
        assert language == trained
        if "train_language" in options and options["train_language"] is LORA:
            assert language and all(".lora_" in name for name in language)
        assert ("projector._extra_state" in state) == ("projector" in options)


@load_either_way
@pytest.mark.parametrize(
    "options",
    [
        {},
        dict(train_encoder=False, grid_pinpoints=[(16, 32)]),
        dict(projector=LANG_BRIDGE),
        dict(train_language="all"),
        dict(train_language=LORA),
    ],
)
def test_round_trip(chat_model: str, options: dict, load: Any, capsys) -> None:
    model = changed(build_llava(chat_model, **options))
    state = copy.deepcopy(model.state_dict())
    other = changed(build_llava(chat_model, **options))
    capsys.readouterr()
    load(other, state)
    assert_close(everything(other), everything(model), rtol=0, atol=0)
    said = "".join(capsys.readouterr())
    assert "missing keys" not in said and "unexpected key" not in said
    assert "do not match" not in said and len(said) < 1000
    data = collate(model, *mixed_samples()[1:2])
    assert_close(other(**data, mode="loss"), model(**data, mode="loss"))
    # The caller's own dict is as it was.
    assert set(state) == set(model.state_dict())


@load_either_way
@pytest.mark.parametrize("language", ["all", LORA, "none"], ids=["all", "lora", "none"])
def test_stage_two_goes_on_from_stage_one(
    chat_model: str, load: Any, language: Any
) -> None:
    first = changed(build_llava(chat_model))
    state = first.state_dict()
    second = build_llava(chat_model, train_encoder=False, train_language=language)
    before = everything(second)
    assert "vision_encoder" not in parts(second.state_dict())
    load(second, state)
    after, trained = everything(second), everything(first)
    for name, value in after.items():
        comes_from = before if name.startswith("language_model") else trained
        assert_close(value, comes_from[name], rtol=0, atol=0)
    # The encoder is frozen now, and was trained before: it stays in checkpoints.
    held = changed(second).state_dict()
    expected = {"vision_encoder", "projector", RECORD}
    assert parts(held) == expected | (
        {"language_model"} if language != "none" else set()
    )
    third = build_llava(
        chat_model, train_encoder=False, train_projector=False, train_language=language
    )
    load(third, held)
    assert_close(everything(third), everything(second), rtol=0, atol=0)
    assert parts(third.state_dict()) == parts(held)
    # Loading neither thaws nor freezes anything.
    assert not any(p.requires_grad for p in second.vision_encoder.parameters())


@load_either_way
def test_held_language_parts_stay_held(chat_model: str, load: Any) -> None:
    """A whole language model that an earlier stage trained, and this one froze."""
    model = changed(build_llava(chat_model, train_language="all"))
    frozen = build_llava(chat_model)
    load(frozen, model.state_dict())
    assert_close(everything(frozen), everything(model), rtol=0, atol=0)
    assert set(frozen.state_dict()) == set(model.state_dict())


def test_through_a_file(chat_model: str, tmp_path: Path) -> None:
    model = changed(build_llava(chat_model, train_language=LORA))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / "a.pth")
    stored = torch.load(tmp_path / "a.pth", weights_only=True)["state_dict"]
    other = build_llava(chat_model, train_language=LORA)
    other.load_state_dict(stored)
    assert_close(everything(other), everything(model), rtol=0, atol=0)


def test_the_record_says_what_it_was_trained_on(chat_model: str) -> None:
    model = build_llava(chat_model, projector=LANG_BRIDGE)
    record = decode_record(model.state_dict()[RECORD])
    assert record["language_model"] == record["vision_encoder"] == chat_model
    assert record["model_type"] == "llama" and record["layers"] == 2
    assert record["width"] == 32 and record["vocabulary"] == 320
    assert record["projector"] == "LangBridgeProjector"
    assert record["trained_parameters"] == model.trained_parameters


# --------------------------------------------------------------- what is refused
@load_either_way
@pytest.mark.parametrize(
    ("kind", "other", "words"),
    [
        ("gpt2", {}, "model_type 'gpt2' != 'llama'"),
        ("llama", dict(num_hidden_layers=1), "layers 1 != 2"),
        ("llama", dict(vocab_size=352), "vocabulary 352 != 320"),
        ("llama", dict(hidden_size=48), "width 48 != 32"),
    ],
)
def test_another_language_model(
    chat_model: str, tmp_path: Path, load: Any, kind: str, other: dict, words: str
) -> None:
    encoder = build_llava(chat_model).state_dict()
    model = build_llava(write_chat_model(tmp_path / "other", kind, **other))
    before = everything(model)
    with pytest.raises(CheckpointError, match=words) as caught:
        load(model, encoder)
    assert chat_model in str(caught.value)
    assert_close(everything(model), before, rtol=0, atol=0)


@load_either_way
@pytest.mark.parametrize(
    ("stored", "built", "words"),
    [
        # Tensors that are there and not built: another model would answer.
        (dict(train_language=LORA), {}, "language_model"),
        (dict(train_language="all"), dict(train_language=LORA), "language_model"),
        (dict(train_language=LORA), dict(train_language="all"), "language_model"),
        (dict(projector=LANG_BRIDGE), {}, "projector"),
        ({}, dict(projector=LANG_BRIDGE), "projector"),
        ({}, dict(projector=dict(type="lbbt_mm.MLPProjector", depth=1)), "projector"),
        (dict(projector=dict(type="lbbt_mm.MLPProjector", depth=1)), {}, "projector"),
        (dict(grid_pinpoints=[(16, 32)]), {}, "image_newline"),
        (dict(train_language=LORA), dict(train_language=dict(LORA, r=3)), "lora_A"),
        (dict(train_language=LORA),
         dict(train_language=dict(LORA, target_modules=["q_proj", "k_proj"])),
         "language_model"),
    ],
)  # fmt: skip
def test_another_configuration(
    chat_model: str, load: Any, stored: dict, built: dict, words: str
) -> None:
    state = build_llava(chat_model, **stored).state_dict()
    model = build_llava(chat_model, **built)
    before = everything(model)
    with pytest.raises(CheckpointError, match=words):
        load(model, state)
    assert_close(everything(model), before, rtol=0, atol=0)


@load_either_way
def test_the_newline_may_come_in_the_second_stage(chat_model: str, load: Any) -> None:
    state = changed(build_llava(chat_model)).state_dict()
    model = build_llava(chat_model, grid_pinpoints=[(16, 32)])
    newline = model.image_newline.detach().clone()
    load(model, state)
    assert_close(model.image_newline.detach(), newline, rtol=0, atol=0)
    assert_close(
        everything(model)["projector.layers.0.bias"], state["projector.layers.0.bias"]
    )


@load_either_way
def test_parts_of_a_part(chat_model: str, load: Any) -> None:
    state = build_llava(chat_model).state_dict()
    del state["vision_encoder.patch_embed.projection.bias"]
    with pytest.raises(CheckpointError, match="patch_embed.projection.bias"):
        load(build_llava(chat_model), state)


@load_either_way
@pytest.mark.parametrize(
    "foreign",
    [{"backbone.conv1.weight": torch.zeros(1)}, {}],
    ids=["resnet", "nothing"],
)
def test_a_foreign_checkpoint(chat_model: str, load: Any, foreign: dict) -> None:
    with pytest.raises(CheckpointError, match="expected a checkpoint with one of"):
        load(build_llava(chat_model), foreign)


@load_either_way
def test_an_encoder_alone(chat_model: str, load: Any) -> None:
    """Without a record: somebody's own file with the encoder's weights."""
    model = changed(build_llava(chat_model))
    encoder = {n: v for n, v in model.state_dict().items() if n.startswith("vision_")}
    other = build_llava(chat_model)
    before = everything(other)
    load(other, encoder)
    for name, value in everything(other).items():
        expected = encoder[name] if name in encoder else before[name]
        assert_close(value, expected, rtol=0, atol=0)


def test_init_cfg_is_where_it_starts(chat_model: str, tmp_path: Path) -> None:
    first = changed(build_llava(chat_model))
    torch.save(dict(state_dict=first.state_dict()), tmp_path / "stage1.pth")
    start = dict(type="Pretrained", checkpoint=str(tmp_path / "stage1.pth"))
    second = build_llava(chat_model, init_cfg=start)
    for name, value in first.state_dict().items():
        if name.endswith(("weight", "bias")):
            assert_close(second.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(ValueError, match="expected init_cfg of type Pretrained"):
        build_llava(chat_model, init_cfg=dict(type="Normal", layer="Linear"))
