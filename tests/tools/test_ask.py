"""tools/ask.py and tools/transfer_projector.py, as their user sees them."""

from __future__ import annotations

import importlib
import io
from pathlib import Path

import pytest
import torch
from llava_tiny import SIZE, build_llava, collate, llava_config, random_images, sample
from mmengine.config import Config
from PIL import ExifTags, Image

BRIDGE = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=40)
PIPELINE = [
    dict(type="lbbt_mm.ImageTiles", size=SIZE),
    dict(type="lbbt_mm.PackConversation"),
]


@pytest.fixture(params=["mlp", "langbridge"])
def kind(request) -> str:
    return request.param


@pytest.fixture
def saved(chat_model: str, tmp_path: Path, kind: str) -> Path:
    """A checkpoint with its config in it, as a run leaves it."""
    options = dict(projector=BRIDGE) if kind == "langbridge" else {}
    model = build_llava(chat_model, **options)
    cfg = Config(
        dict(
            model=llava_config(chat_model, **options),
            val_dataloader=dict(dataset=dict(type="Any", pipeline=PIPELINE)),
            default_scope="lbbt_mm",
        )
    )
    path = tmp_path / "iter_1.pth"
    content = dict(state_dict=model.state_dict(), meta=dict(cfg=cfg.pretty_text))
    torch.save(content, path)
    return path


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    random_images((20, 30))[0].save(path)
    return path


def test_it_answers_as_the_model_does(
    tool, saved, image, kind, chat_model, capfd
) -> None:
    tool("ask.py", saved, image, "What is this?", "How many?").main()
    said = capfd.readouterr().out.splitlines()
    options = dict(projector=BRIDGE) if kind == "langbridge" else {}
    model = build_llava(chat_model, **options)
    for question, answer in zip(("What is this?", "How many?"), said, strict=True):
        packed = sample(f"<image>\n{question}", images=1)
        assert model.answer(**collate(model, packed)) == [answer]


def test_an_image_stands_as_the_camera_was_held(tool, saved, tmp_path, capfd) -> None:
    """The same pixels, once stored lying and marked so."""
    upright, lying = tmp_path / "upright.png", tmp_path / "lying.png"
    image = random_images((20, 40))[0]
    image.save(upright)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned to the right
    image.transpose(Image.Transpose.ROTATE_90).save(lying, exif=exif)
    module = tool("ask.py", saved, lying, "What is this?")
    assert list(module.read_image(lying).getdata()) == list(image.getdata())


@pytest.mark.parametrize("kind", ["mlp"], indirect=True)
def test_a_conversation_opens_the_model_once(
    tool, saved, image, tmp_path, monkeypatch, capfd
) -> None:
    tool("ask.py", saved, image, "What is this?", "How many?").main()
    expected = capfd.readouterr().out.splitlines()
    opened = []
    module = tool("ask.py", saved, image)
    answering = "lbbt_mm.models.multimodal.answering"
    original = importlib.import_module(answering).open_answering
    monkeypatch.setattr(
        f"{answering}.open_answering",
        lambda *args: opened.append(args) or original(*args),
    )
    other = tmp_path / "other.png"
    random_images((30, 20))[0].save(other)
    lines = ["What is this?", "x " * 900, str(other), str(image), "How many?", "", "?"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    module.main()
    said = capfd.readouterr()
    assert said.out.splitlines() == expected and len(opened) == 1
    assert "Expected conversations of at most" in said.err  # and it went on


def test_a_checkpoint_without_a_config(
    tool, saved, image, chat_model, tmp_path, capfd
) -> None:
    content = torch.load(saved, weights_only=False)
    config = tmp_path / "config.py"
    config.write_text(content["meta"].pop("cfg"))
    bare = tmp_path / "bare.pth"
    torch.save(content, bare)
    with pytest.raises(SystemExit, match="give the config"):
        tool("ask.py", bare, image, "What?").main()
    for words in ((saved, image, "What?"), (bare, image, "What?", "--config", config)):
        tool("ask.py", *words).main()
    first, second = capfd.readouterr().out.splitlines()
    assert first == second


@pytest.mark.parametrize("kind", ["mlp"], indirect=True)
@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("model.data_preprocessor", dict(type="os.mkdir", path="code-ran")),
        ("model.vision_encoder.init_cfg", [dict(type="os.mkdir", path="code-ran")]),
        ("model.projector", dict(type="pathlib.Path.mkdir", self="code-ran")),
        (
            "val_dataloader.dataset.pipeline",
            [*PIPELINE, dict(type="os.mkdir", path="code-ran")],
        ),
        ("default_scope", "os"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_config_in_a_checkpoint_runs_nothing(
    tool, saved, image, place, value, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = torch.load(saved, weights_only=False)
    config = tmp_path / "config.py"
    config.write_text(content["meta"]["cfg"])
    cfg = Config.fromfile(config)
    cfg.merge_from_dict({place: value})
    content["meta"]["cfg"] = cfg.pretty_text
    torch.save(content, saved)
    with pytest.raises(SystemExit, match="and nothing else. If you trust it") as caught:
        tool("ask.py", saved, image, "What?").main()
    assert f"config in {saved} asks for" in str(caught.value)
    assert f" at {place}" in str(caught.value) or " at pipeline[2]" in str(caught.value)
    assert not (tmp_path / "code-ran").exists()


@pytest.mark.parametrize("kind", ["mlp"], indirect=True)
@pytest.mark.parametrize(
    "cfg",
    ["model = [1]", "model = 3\n", "a = (", "model = dict(type='lbbt_mm.LLaVA')"]
    + ["model = dict(type='lbbt_mm.LLaVA')\nval_dataloader = [1]", "[" * 9999, 3],
    ids=range(7),
)
def test_a_config_of_any_content_ends_in_a_sentence(tool, saved, image, cfg) -> None:
    content = torch.load(saved, weights_only=False)
    content["meta"]["cfg"] = cfg
    torch.save(content, saved)
    with pytest.raises(SystemExit, match="error: "):
        tool("ask.py", saved, image, "What?").main()


def test_words_on_patches(tool, saved, image, kind, tmp_path) -> None:
    out = tmp_path / "words.png"
    words = ("ask.py", saved, image, "What?", "--words", out)
    if kind == "mlp":
        with pytest.raises(SystemExit, match="expected a LangBridgeProjector|Expected"):
            tool(*words).main()
        assert not out.exists()
    else:
        tool(*words).main()
        with Image.open(out) as picture:
            assert picture.width > 100


def test_what_is_no_checkpoint_or_no_image(tool, saved, image, tmp_path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(saved.read_bytes()[:200])
    bare = tmp_path / "bare.pth"
    torch.save(dict(state_dict=dict(a=torch.zeros(1))), bare)
    for path, said in ((cut, "cut.pth"), (tmp_path / "no.pth", "does not exist")):
        with pytest.raises(SystemExit, match=said):
            tool("ask.py", path, image, "What?").main()
    with pytest.raises(SystemExit, match="checkpoint with its config"):
        tool("ask.py", bare, image, "What?").main()
    with pytest.raises(SystemExit, match="expected an image, got none"):
        tool("ask.py", saved, saved, "What?").main()


def test_a_projector_is_moved(tool, saved, kind, chat_model, tmp_path, capfd) -> None:
    out = tmp_path / "moved" / "other.pth"
    words = ("transfer_projector.py", saved, chat_model, "--out", out)
    if kind == "mlp":
        with pytest.raises(SystemExit, match="An MLP projector belongs to one"):
            tool(*words).main()
        assert not out.exists()
        return
    tool(*words).main()
    assert "model.projector.vocabulary_size=40" in capfd.readouterr().out
    build_llava(chat_model, projector=BRIDGE).load_state_dict(
        torch.load(out, weights_only=True)["state_dict"]
    )
    before = out.read_bytes()
    with pytest.raises(SystemExit, match="exists already"):
        tool(*words).main()
    assert out.read_bytes() == before
