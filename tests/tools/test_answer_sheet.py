"""tools/answer_sheet.py: images, questions and what models said of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lbbt_mm.report.answers import choose_questions


def write(path: Path, said: dict[str, tuple[str, float]], image: Path) -> Path:
    records = [
        dict(
            sample_id=name,
            question=f"What is {name}?",
            answers=["boot"],
            question_type="what" if name < "c" else "where",
            img_paths=[str(image)],
            said=text,
            score=score,
        )
        for name, (text, score) in said.items()
    ]
    path.write_text(json.dumps(records), encoding="utf-8")
    return path


@pytest.fixture
def image(tmp_path) -> Path:
    path = tmp_path / "image.png"
    Image.new("RGB", (16, 8), (10, 20, 200)).save(path)
    return path


def colours(picture: Path) -> set[tuple[int, ...]]:
    pixels = np.asarray(Image.open(picture).convert("RGB")).reshape(-1, 3)
    return {tuple(pixel) for pixel in np.unique(pixels, axis=0).tolist()}


def test_right_answers_are_green_and_wrong_ones_red(tool, tmp_path, image) -> None:
    right = write(tmp_path / "right.json", {"a": ("boot", 1.0)}, image)
    wrong = write(tmp_path / "wrong.json", {"a": ("bag", 0.0)}, image)
    seen = {}
    for name, files in (("right", [right]), ("wrong", [wrong]), ("both", None)):
        words = [f"{path.stem}={path}" for path in files or (right, wrong)]
        out = tmp_path / f"{name}.png"
        tool("answer_sheet.py", *words, "--out", out).main()
        seen[name] = colours(out)
        assert (10, 20, 200) in seen[name]
    green, red = (0, 110, 50), (190, 30, 30)
    assert green in seen["right"] and red not in seen["right"]
    assert red in seen["wrong"] and green not in seen["wrong"]
    assert {green, red} <= seen["both"]


def test_questions_of_each_type_stand_in_columns() -> None:
    answers = {n: dict(question_type="what" if n < "c" else "where") for n in "abcd"}
    assert choose_questions(answers, 2) == ["a", "c", "b", "d"]
    assert choose_questions(answers, 2, first=1) == ["b", "d"]


def test_what_cannot_be_drawn(tool, tmp_path, image) -> None:
    one = write(tmp_path / "one.json", {"a": ("boot", 1.0)}, image)
    two = write(tmp_path / "two.json", {"b": ("boot", 1.0)}, image)
    out = tmp_path / "out.png"
    with pytest.raises(SystemExit, match="not answered by two"):
        tool("answer_sheet.py", f"one={one}", f"two={two}", "--out", out).main()
    (tmp_path / "cut.json").write_text(one.read_text()[:40])
    for name in ("cut.json", "none.json"):
        with pytest.raises(SystemExit, match="Expected answers that VQAMetric"):
            words = (f"x={tmp_path / name}", "--out", out)
            tool("answer_sheet.py", *words).main()
    assert not out.exists()


def test_images_lie_where_they_may(tool, tmp_path, image, monkeypatch) -> None:
    folder = tmp_path / "answers"
    folder.mkdir()
    out = tmp_path / "out.png"
    monkeypatch.chdir(folder)
    for path in (image, Path("../image.png"), Path("x/../../image.png")):
        answers = write(folder / "a.json", {"a": ("boot", 1.0)}, path)
        with pytest.raises(SystemExit, match="say so with --images FOLDER"):
            tool("answer_sheet.py", f"a={answers}", "--out", out).main()
        words = (f"a={answers}", "--out", out, "--images", tmp_path)
        tool("answer_sheet.py", *words).main()
        out.unlink()


@pytest.mark.parametrize("key", ["said", "score", "question", "answers", "img_paths"])
@pytest.mark.parametrize("value", [[1], {}, "x", 3, None, True])
def test_answers_of_another_shape(tool, tmp_path, image, key, value) -> None:
    path = write(tmp_path / "a.json", {"a": ("boot", 1.0)}, image)
    (record,) = json.loads(path.read_text())
    record[key] = value
    path.write_text(json.dumps([record]))
    out = tmp_path / "out.png"
    try:
        tool("answer_sheet.py", f"a={path}", "--out", out).main()
    except SystemExit as end:
        assert "Expected answers that VQAMetric" in str(end)
        assert key in str(end)
    else:
        assert out.exists()
