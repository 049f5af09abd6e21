"""A backbone and whatever holds it in ONNX Runtime, at sizes that were not recorded."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.testing import assert_close

import lbbt_mm
from lbbt_mm.language.errors import CheckpointError

SIZES = dict(
    hidden_size=32,
    num_hidden_layers=1,
    num_attention_heads=4,
    intermediate_size=48,
    vocab_size=32,
)
GROUPED = dict(SIZES, num_key_value_heads=2)
LONG = dict(rope_type="longrope", short_factor=[1, 1.1, 1.2, 1.3])
LONG |= dict(long_factor=[2, 3, 4, 5])
# Each has a limit at 25 tokens, where it begins to compute in another way.
LIMITED: dict[str, dict[str, Any]] = {
    "table": dict(
        model_type="gpt2", n_embd=32, n_layer=1, n_head=4, n_positions=25, vocab_size=32
    ),
    "both ways": dict(SIZES, model_type="bert", max_position_embeddings=25),
    "buckets": dict(
        **dict(model_type="t5", d_model=32, d_ff=48, num_layers=1, num_heads=4),
        **dict(d_kv=8, vocab_size=32, relative_attention_max_distance=25),
    ),
    "window": dict(
        **dict(GROUPED, model_type="mistral", sliding_window=25),
        max_position_embeddings=64,
    ),
    "dynamic": dict(
        GROUPED,
        model_type="llama",
        max_position_embeddings=25,
        rope_scaling=dict(rope_type="dynamic", factor=2.0),
    ),
    "longrope": dict(
        **dict(GROUPED, model_type="phi3", pad_token_id=0, rope_scaling=LONG),
        **dict(max_position_embeddings=64, original_max_position_embeddings=25),
    ),
}
BELOW, ABOVE = (2, 3, 32, 40), (2, 3, 48, 64)
OTHERS = [
    (1, 3, 32, 32),
    (3, 3, 48, 64),
    (1, 3, 30, 50),
    (1, 3, 16, 16),
    (2, 3, 32, 40),
]


def build(folder: Path, model: dict[str, Any], **options: Any) -> nn.Module:
    folder.joinpath("config.json").write_text(json.dumps(model))
    sizes = dict(img_size=32, patch_size=8, out_type="featmap")
    backbone = lbbt_mm.LanguageBackbone(
        str(folder), pretrained=False, **{**sizes, **options}
    )
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.3)
    return backbone.eval()


def exported(model: nn.Module, images: Tensor, folder: Path, **options: Any) -> Any:
    """Write an ONNX file and open it; nothing of torch is left."""
    file = folder / "model.onnx"
    options.setdefault("dynamo", False)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is decided by Python numbers
        torch.onnx.export(
            model, (images,), str(file), input_names=["images"], **options
        )
    said = onnxruntime.SessionOptions()
    said.log_severity_level, said.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(str(file), said)


def any_size() -> dict[str, Any]:
    return dict(dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}})


def check(session: Any, model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> None:
    for shape in shapes:
        images = torch.rand(shape)
        with torch.no_grad():
            expected = model(images)
        expected = expected if isinstance(expected, (tuple, list)) else (expected,)
        found = session.run(None, {"images": images.numpy()})
        for ours, theirs in zip(found, expected, strict=True):
            assert_close(torch.from_numpy(ours), theirs)


@pytest.mark.parametrize("recorded", [BELOW, ABOVE], ids=["below", "above"])
@pytest.mark.parametrize("name", LIMITED)
def test_a_file_computes_as_the_model_on_both_sides_of_a_limit(
    name: str, recorded: tuple[int, ...], tmp_path: Path
) -> None:
    model = build(tmp_path, LIMITED[name])
    session = exported(model, torch.rand(recorded), tmp_path, **any_size())
    check(session, model, OTHERS)


@pytest.mark.parametrize("position", ["sincos2d", "learned", "none"])
@pytest.mark.parametrize("out_type", ["last", "avg", "raw"])
def test_new_positions(position: str, out_type: str, tmp_path: Path) -> None:
    options = dict(position=position, out_type=out_type, prefix_tokens="new")
    model = build(tmp_path, LIMITED["table"], **options)
    session = exported(model, torch.rand(BELOW), tmp_path, **any_size())
    check(session, model, OTHERS)


@pytest.mark.slow  # the new exporter takes its time
@pytest.mark.parametrize("name", ["table", "window"])
def test_the_new_exporter(name: str, tmp_path: Path) -> None:
    model = dict(LIMITED[name])
    if name == "window":
        model["rope_scaling"] = LIMITED["dynamic"]["rope_scaling"]
        model["max_position_embeddings"] = 25
    model = build(tmp_path, model, attention="bidirectional")
    sides = {n: torch.export.Dim(f"side{n}", min=16, max=512) for n in (2, 3)}
    shapes = ({0: torch.export.Dim("batch"), **sides},)
    options = dict(dynamo=True, dynamic_shapes=shapes, verbose=False)
    session = exported(model, torch.rand(BELOW), tmp_path, **options)
    check(session, model, OTHERS)


def test_what_has_one_size_fails_on_others(tmp_path: Path) -> None:
    options = dict(window_size=2, global_blocks=1, position="sincos2d")
    model = build(tmp_path, dict(LIMITED["table"], n_layer=2), **options)
    session = exported(model, torch.rand(2, 3, 32, 64), tmp_path, **any_size())
    check(session, model, [(2, 3, 32, 64)])
    for shape in ((2, 3, 64, 32), (2, 3, 32, 32), (2, 3, 40, 64)):
        with pytest.raises(Exception, match="ONNXRuntimeError"):
            session.run(None, {"images": torch.rand(shape).numpy()})


def test_no_more_tokens_than_rows_if_that_was_asked(tmp_path: Path) -> None:
    model = build(tmp_path, LIMITED["table"], long_positions="refuse")
    session = exported(model, torch.rand(BELOW), tmp_path, **any_size())
    check(session, model, [(1, 3, 32, 32), (3, 3, 40, 40)])
    with pytest.raises(Exception, match="ONNXRuntimeError"):
        session.run(None, {"images": torch.rand(1, 3, 48, 64).numpy()})


def test_layers_of_transformers_are_not_recorded(tmp_path: Path) -> None:
    model = build(tmp_path, dict(SIZES, model_type="gpt_neox"))
    with pytest.raises(CheckpointError, match="torch.jit.trace cannot record"):
        exported(model, torch.rand(1, 3, 32, 32), tmp_path)


def test_a_classifier_with_its_head(tmp_path: Path) -> None:
    import mmpretrain.models  # noqa: F401

    tmp_path.joinpath("config.json").write_text(json.dumps(LIMITED["table"]))
    init_default_scope("mmpretrain")
    backbone = dict(type="lbbt_mm.LanguageBackbone", language_model=str(tmp_path))
    backbone |= dict(pretrained=False, img_size=32, patch_size=8, out_type="avg")
    head = dict(type="LinearClsHead", num_classes=3, in_channels=32)
    cfg = Config(dict(model=dict(type="ImageClassifier", backbone=backbone, head=head)))
    model = MODELS.build(cfg.model).eval()
    model.init_weights()
    session = exported(model, torch.rand(BELOW), tmp_path, **any_size())
    check(session, model, OTHERS)
