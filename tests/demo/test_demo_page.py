"""The page as a browser meets it: uploads, buttons, what they bring."""

from __future__ import annotations

import io
from pathlib import Path

import gradio as gr
import pytest
import torch
from llava_tiny import SIZE, build_llava, collate, llava_config, random_images, sample
from mmengine.config import Config
from PIL import Image
from visitor import Visitor

from lbbt_mm.demo.models import open_model
from lbbt_mm.demo.page import build_page, served

PIPELINE = [
    dict(type="lbbt_mm.ImageTiles", size=SIZE),
    dict(type="lbbt_mm.PackConversation"),
]


@pytest.fixture
def classifier(trained):
    cfg = Config.fromfile(trained.config)
    checkpoint = str(trained.work_dir / "epoch_1.pth")
    return open_model(cfg, str(trained.config), checkpoint, "cpu")


@pytest.fixture
def visit(tmp_path, monkeypatch):
    monkeypatch.setattr(gr.Image, "GRADIO_CACHE", str(tmp_path / "cache"), False)
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "cache"))
    return lambda model, *more: Visitor(served(build_page(model, "<b>it</b>", *more)))


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "noise.png"
    random_images((20, 30))[0].save(path)
    return path


def test_a_classifier_says_what_it_says_in_python(classifier, visit, trained) -> None:
    path = next((trained.root / "test/light").glob("*.png"))
    expected, seen = classifier(Image.open(path))
    with visit(classifier) as visitor:
        status, (said, shown) = visitor.press("look", visitor.upload(path))
        drawn = Image.open(io.BytesIO(visitor.picture(shown)))
    assert status == "complete"
    found = {one["label"]: one["confidence"] for one in said["confidences"]}
    assert found == pytest.approx(expected) and said["label"] == max(
        found, key=found.get
    )
    assert drawn.resize(seen.size, 0).tobytes() == seen.tobytes()


def test_what_is_no_picture_is_one_sentence(classifier, visit, picture) -> None:
    text = picture.with_name("text.png")
    text.write_text("no picture")
    cut = picture.with_name("cut.png")
    cut.write_bytes(picture.read_bytes()[:300])
    with visit(classifier) as visitor:
        for path in (text, cut):
            status, said = visitor.press("look", visitor.upload(path))
            sentence = said["error"]
            assert status == "error" and str(path.parent) not in sentence
            assert f"Expected a picture, got {path.name}" in sentence
        assert visitor.press("look", None)[1]["error"] == "Choose a picture first."
        assert visitor.press("look", visitor.upload(picture))[0] == "complete"


def test_the_page_loads_and_sends_nothing_elsewhere(classifier, visit, picture) -> None:
    with visit(classifier, [picture]) as visitor:
        said = visitor.client.get("/")
        config = visitor.client.get("/config").json()
    policy = said.headers["content-security-policy"]
    assert "default-src 'self'" in policy and "http" not in policy
    assert config["analytics_enabled"] is False
    assert "&lt;b&gt;it&lt;/b&gt;" in str(config) and "<b>it</b>" not in str(
        [one["props"].get("value") for one in config["components"]]
    )


def test_a_llava_answers_as_it_does_in_python(
    chat_model, visit, picture, tmp_path
) -> None:
    config, checkpoint = tmp_path / "config.py", tmp_path / "iter_1.pth"
    model = build_llava(chat_model)
    dataset = dict(dataset=dict(type="Any", pipeline=PIPELINE))
    cfg = Config(dict(model=llava_config(chat_model), val_dataloader=dataset))
    cfg.dump(config)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), checkpoint)
    packed = sample("<image>\nWhat is this?", images=1)
    (answer,) = model.answer(**collate(model, packed))
    opened = open_model(Config.fromfile(config), str(config), str(checkpoint), "cpu")
    with visit(opened) as visitor:
        shown = visitor.upload(picture)
        status, (left, talk) = visitor.press("ask", shown, "What is this?", [])
        assert (status, left) == ("complete", "")
        assert [turn["role"] for turn in talk] == ["user", "assistant"]
        assert answer in str(talk[1]["content"])
        # The second question stands by itself, under the first.
        _, (_, more) = visitor.press("ask", shown, "What is this?", talk)
        assert len(more) == 4 and more[3]["content"] == talk[1]["content"]
        assert visitor.press("ask", shown, " ", [])[1]["error"].startswith("Write a")
        assert "at most" in visitor.press("ask", shown, "x " * 900, [])[1]["error"]
        assert visitor.press("ask", None, "What?", [])[1]["error"].startswith("Choose")
