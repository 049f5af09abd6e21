"""docs/other_tools.md: each of its blocks, on models of a few thousand numbers."""

from __future__ import annotations

import copy
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope, init_default_scope
from PIL import Image
from torch.testing import assert_close

sys.path.append(str(Path(__file__).resolve().parents[1] / "models/detection"))
import test_detector_elsewhere as elsewhere
import tiny_detr

TEXT = (
    Path(__file__)
    .resolve()
    .parents[2]
    .joinpath("docs/other_tools.md")
    .read_text("utf-8")
)
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
BACKBONE = dict(type="lbbt_mm.LanguageBackbone", language_model="tiny", num_layers=1)
BACKBONE |= dict(img_size=32, patch_size=8, attention="bidirectional")


def block(word: str) -> str:
    (found,) = [text for text in BLOCKS if word in text]
    return found


def classifier() -> Config:
    pipeline = [dict(type="LoadImageFromFile"), dict(type="PackInputs")]
    return Config(
        dict(
            default_scope="mmpretrain",
            data_preprocessor=dict(num_classes=3, mean=[0.0] * 3, std=[255.0] * 3),
            model=dict(
                type="ImageClassifier",
                backbone=dict(BACKBONE, out_type="avg"),
                head=dict(type="LinearClsHead", num_classes=3, in_channels=32),
            ),
            test_dataloader=dict(dataset=dict(type="CustomDataset", pipeline=pipeline)),
            visualizer=dict(type="UniversalVisualizer"),
        )
    )


def segmenter() -> Config:
    head = dict(type="FCNHead", num_classes=3, in_channels=32, channels=8, num_convs=1)
    return Config(
        dict(
            default_scope="mmseg",
            model=dict(
                type="EncoderDecoder",
                data_preprocessor=dict(type="SegDataPreProcessor"),
                backbone=dict(BACKBONE, out_type="featmap"),
                decode_head=dict(head, norm_cfg=dict(type="BN")),
                test_cfg=dict(mode="whole"),
            ),
            test_pipeline=[dict(type="LoadImageFromFile"), dict(type="PackSegInputs")],
            test_dataloader=dict(
                dataset=dict(
                    pipeline=[
                        dict(type="LoadImageFromFile"),
                        dict(type="PackSegInputs"),
                    ]
                )
            ),
            visualizer=dict(type="SegLocalVisualizer"),
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A config, a checkpoint and an image; the language model is gone."""
    import mmdet.utils
    import mmpretrain.utils
    import mmseg.utils
    import transformers as hf

    folder = tmp_path_factory.mktemp("elsewhere")
    config = hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=32, vocab_size=8)
    hf.GPT2Model(config).save_pretrained(folder / "tiny")
    Image.fromarray(elsewhere.IMAGE).save(folder / "image.png")
    configs = dict(
        detector=elsewhere.detector("tiny"),
        classifier=classifier(),
        segmenter=segmenter(),
    )
    classes = dict(classes=("a", "b", "c"), palette=[(0, 0, 0)] * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, cfg in configs.items():
            package = dict(classifier=mmpretrain, segmenter=mmseg).get(name, mmdet)
            package.utils.register_all_modules(init_default_scope=False)
            init_default_scope(cfg.default_scope)
            cfg.dump(f"{name}.py")
            model = MODELS.build(copy.deepcopy(cfg.model))
            model.init_weights()
            meta = dict(cfg=cfg.pretty_text, dataset_meta=classes)
            torch.save(dict(state_dict=model.state_dict(), meta=meta), f"{name}.pth")
    (folder / "tiny").rename(folder / "gone")
    DefaultScope._instance_dict.clear()  # the last one's
    return folder


def run(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.chdir(folder)
    names: dict = {}
    exec(compile(text, "docs/other_tools.md", "exec"), names)
    return names


def test_a_detector(folder, monkeypatch) -> None:
    names = run(block("DetInferencer"), folder, monkeypatch)
    assert len(names["boxes"]) == len(names["scores"]) > 0


def test_a_classifier(folder, monkeypatch) -> None:
    assert run(block("ImageClassificationInf"), folder, monkeypatch)["label"] in (
        0,
        1,
        2,
    )


def test_a_segmenter(folder, monkeypatch) -> None:
    names = run(block("MMSegInferencer"), folder, monkeypatch)
    assert np.asarray(names["classes"]).shape == (32, 32)


def test_pythons_own_syntax(tmp_path, monkeypatch) -> None:
    text = block("read_base")
    (tmp_path / "python_style.py").write_text(text)
    (tmp_path / "their_base.py").write_text(
        "from mmpretrain.models import ImageClassifier, LinearClsHead, ResNet\n"
        "default_scope = 'mmpretrain'\n"
        "model = dict(\n"
        "    type=ImageClassifier, backbone=dict(type=ResNet, depth=50),\n"
        "    head=dict(type=LinearClsHead, num_classes=3, in_channels=2048))\n"
    )
    from lbbt_mm.config import load_config

    for cfg in (
        Config.fromfile(tmp_path / "python_style.py"),
        load_config(str(tmp_path / "python_style.py")),
    ):
        init_default_scope("mmpretrain")
        with torch.device("meta"):
            model = MODELS.build(cfg.model)
        assert type(model.backbone).__name__ == "LanguageBackbone"
        assert model.head.fc.in_features == model.backbone.embed_dims == 768
        # As it was dumped, it builds again.
        cfg.dump(tmp_path / "dumped.py")
        again = Config.fromfile(tmp_path / "dumped.py", lazy_import=False)
        with torch.device("meta"):
            assert isinstance(MODELS.build(again.model), type(model))


@pytest.fixture
def language(folder):
    """The language model is where the configs look for it."""
    (folder / "gone").rename(folder / "tiny")
    yield
    (folder / "tiny").rename(folder / "gone")


# 16 patches of 3 * 64 numbers; 4 products of 32 and two of 128; queries and keys.
PRODUCTS = 16 * (192 * 32 + 4 * 32 * 32 + 2 * 32 * 128) + 2 * 16 * 16 * 32


def counted_by(package, *words: object, monkeypatch, capsys) -> float:
    """Run a library's own get_flops.py, and read what it says."""
    script = Path(package.__file__).parent / ".mim/tools/analysis_tools/get_flops.py"
    monkeypatch.setattr(sys, "argv", [script.name, *map(str, words)])
    runpy.run_path(str(script), run_name="__main__")
    number, unit = re.findall(r"Flops:\s*([\d.]+)([KMG]?)", capsys.readouterr().out)[-1]
    return float(number) * {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}[unit]


def test_operations_are_counted(folder, language, monkeypatch, capsys) -> None:
    import mmpretrain
    import mmseg

    counted = run(block("get_model_complexity_info"), folder, monkeypatch)
    assert PRODUCTS <= counted["counted"]["flops"] < 1.1 * PRODUCTS
    capture = dict(monkeypatch=monkeypatch, capsys=capsys)
    words = ("classifier.py", "--shape", 32)
    assert PRODUCTS <= counted_by(mmpretrain, *words, **capture) < 1.1 * PRODUCTS
    head = 16 * (32 * 8 * 9 + 8 * 3)  # one convolution, and the classes
    found = counted_by(mmseg, "segmenter.py", "--shape", 32, **capture)
    assert PRODUCTS + head <= found < 1.2 * (PRODUCTS + head)


def test_operations_of_detectors_are_counted(
    folder, language, monkeypatch, capsys
) -> None:
    import mmdet

    monkeypatch.chdir(folder)
    image = dict(id=1, file_name="image.png", height=32, width=32)
    classes = [dict(id=number, name=str(number)) for number in range(5)]
    box = dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 9, 9], area=81, iscrowd=0)
    Path("coco.json").write_text(
        json.dumps(dict(images=[image], annotations=[box], categories=classes))
    )
    found, cfg = {}, elsewhere.detector("tiny")
    data = dict(type="CocoDataset", ann_file="coco.json", data_prefix=dict(img=""))
    data |= dict(test_mode=True, metainfo=dict(classes=[c["name"] for c in classes]))
    cfg.val_dataloader = dict(
        **dict(batch_size=1, num_workers=0),
        dataset=dict(data, pipeline=elsewhere.PIPELINE),
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    for kind in ("FCOS", "DETR", *tiny_detr.OURS):
        if kind != "FCOS":
            cfg.model = tiny_detr.detr_config(kind)
        cfg.dump("counted.py")
        capture = dict(monkeypatch=monkeypatch, capsys=capsys)
        found[kind] = counted_by(mmdet, "counted.py", **capture)
    # Two blocks, the neck, and of the head five convolutions.
    products = 2 * PRODUCTS - 16 * 192 * 32 + 16 * 32 * 32
    products += 16 * 9 * 32 * (2 * 32 + 3 + 4 + 1)
    assert products <= found.pop("FCOS") < 1.1 * products
    assert len(set(found.values())) == 1  # ours as mmdet's own


@pytest.mark.parametrize("position", ["none", "sincos2d", "learned", "language"])
def test_a_program_takes_any_size(position, folder, monkeypatch) -> None:
    text = block("torch.jit.trace(backbone").replace("sincos2d", position)
    names = run(text, folder, monkeypatch)
    backbone, program = names["backbone"], names["program"]
    # As many patches as in the example, and sides that no patch divides.
    for size in ((112, 448), (100, 250), (224, 224)):
        images = torch.rand(2, 3, *size)
        with torch.no_grad():
            assert_close(program(images)[0], backbone(images)[0])


def test_a_program_in_windows_has_one_size() -> None:
    import lbbt_mm

    backbone = lbbt_mm.LanguageBackbone(
        "gpt2",
        pretrained=False,
        num_layers=2,
        img_size=64,
        position="sincos2d",
        window_size=2,
        global_blocks=1,
        out_type="featmap",
    ).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        program = torch.jit.trace(backbone, images, check_trace=False)
        assert_close(program(images)[0], backbone(images)[0])
        for size in ((64, 128), (128, 32), (80, 64)):
            with pytest.raises(RuntimeError, match="unflatten|shape|size"):
                program(torch.rand(1, 3, *size))


@pytest.mark.slow  # torch.export takes its time
@pytest.mark.parametrize("position", ["sincos2d", "learned"])
def test_an_exported_backbone_takes_any_size(position) -> None:
    import lbbt_mm

    backbone = lbbt_mm.LanguageBackbone(
        "gpt2", pretrained=False, num_layers=1, img_size=64, position=position
    ).eval()
    sides = {axis: torch.export.Dim(f"side{axis}", min=32, max=512) for axis in (2, 3)}
    with torch.no_grad():
        program = torch.export.export(
            backbone, (torch.rand(1, 3, 64, 64),), dynamic_shapes=(sides,)
        ).module()
        for size in ((64, 64), (32, 128), (100, 250)):
            images = torch.rand(1, 3, *size)
            assert_close(program(images)[0], backbone(images)[0])


@pytest.mark.parametrize("kind", ["DETR", *tiny_detr.OURS])
def test_a_detr_becomes_a_program(kind, folder, monkeypatch) -> None:
    cfg = Config(dict(model=tiny_detr.detr_config(kind)))
    cfg.dump(folder / "detr.py")
    names = run("import torch\n" + block("class Scores"), folder, monkeypatch)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        wanted = names["Scores"]()(images)
        for found, one in zip(names["program"](images), wanted, strict=True):
            assert_close(found, one)


def test_tensorboard_reads_numbers_and_pictures(project, ended) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    hooks = (
        "custom_hooks = [dict(type='lbbt_mm.ThroughputHook', warmup=0)]\n"
        "default_hooks['visualization'] = dict(\n"
        "    type='VisualizationHook', enable=True, interval=1)\n"
    )
    text = project.config.read_text() + hooks + block("TensorboardVisBackend")
    project.config.write_text(text)
    argv = (project.config, "--work-dir", project.work_dir, "--device", "cpu")
    assert ended("train.py", *argv, "--auto-scale-lr").returncode == 0

    def written() -> EventAccumulator:
        """Read the newest run."""
        folders = sorted(project.work_dir.glob("*/vis_data"))
        return EventAccumulator(str(folders[-1]), size_guidance={"images": 0}).Reload()

    events = written()
    assert [event.step for event in events.Scalars("loss")] == [1, 2]
    assert {"random_label/top1", "time", "data_time"} <= set(events.Tags()["scalars"])
    assert events.Tags()["images"]
    # Batches of four for a rate that was chosen for two; it is so once, not twice.
    assert [e.value for e in events.Scalars("lr")] == pytest.approx([2e-2] * 2)
    more = ("--resume", "--auto-scale-lr", "--cfg-options", "train_cfg.max_epochs=2")
    assert ended("train.py", *argv, *more).returncode == 0
    found = [(e.step, e.value) for e in written().Scalars("lr")]
    assert [step for step, _ in found] == [3, 4]
    assert [rate for _, rate in found] == pytest.approx([2e-2] * 2)


def test_a_file_of_onnx(folder, monkeypatch) -> None:
    import onnxruntime

    first, text = block("torch.jit.trace(backbone"), block("torch.onnx.export")
    names = run(first + text, folder, monkeypatch)
    session = onnxruntime.InferenceSession("backbone.onnx")
    for size in ((112, 448), (100, 250)):
        images = torch.rand(2, 3, *size)
        with torch.no_grad():
            expected = names["backbone"](images)[0]
        (found,) = session.run(["features"], {"images": images.numpy()})
        assert_close(torch.from_numpy(found), expected)


@pytest.mark.parametrize("kind", ["DETR", *tiny_detr.OURS])
def test_a_detr_becomes_a_file_of_onnx(kind, folder, monkeypatch) -> None:
    import onnxruntime

    cfg = Config(dict(model=tiny_detr.detr_config(kind)))
    cfg.dump(folder / "detr.py")
    names = run("import torch\n" + block("class Scores"), folder, monkeypatch)
    model, images = names["Scores"]().eval(), torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        options = dict(input_names=["images"], dynamo=False)
        torch.onnx.export(model, (images[0],), "detr.onnx", **options)
        wanted = model(images[1])
    session = onnxruntime.InferenceSession("detr.onnx")
    for found, one in zip(
        session.run(None, {"images": images[1].numpy()}), wanted, strict=True
    ):
        assert_close(torch.from_numpy(found), one)
