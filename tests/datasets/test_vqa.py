"""Readers of conversations and visual questions, on miniatures of the public files."""

from __future__ import annotations

import json

import pytest
from mmengine.registry import DATASETS as ROOT
from PIL import ExifTags, Image

from lbbt_mm.datasets import DamagedImageError


def turns(*values: str, roles=("human", "gpt")) -> list[dict]:
    return [{"from": roles[i % 2], "value": v} for i, v in enumerate(values)]


GOOD = {"id": "7", "image": "a/1.png", "conversations": turns("<image>\nWhat?", "Cat")}


@pytest.fixture
def build(tmp_path):
    for number, name in enumerate(("a/1.png", "a/2.png", "9/image.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 3), number).save(path)

    def make(content, kind="ConversationDataset", **options):
        (tmp_path / "all.json").write_text(json.dumps(content))
        folders = dict(data_root=str(tmp_path), data_prefix=dict(img_path="images"))
        config = dict(type=f"lbbt_mm.{kind}", ann_file="all.json", **folders)
        return ROOT.build(dict(config, **options))

    return make


def test_conversations(build, tmp_path) -> None:
    text = {"id": "8", "conversations": turns("Hi", "Ho", "So?", "Yes")}
    two = {"image": ["a/2.png", "a/1.png"]}
    two["conversations"] = turns("<image> and <image>?", "Two")
    dataset = build([GOOD, text, two])
    first = dataset[0]
    assert first["img_paths"] == [str(tmp_path / "images/a/1.png")]
    assert first["turns"] == [
        dict(role="user", text="<image>\nWhat?"),
        dict(role="assistant", text="Cat"),
    ]
    assert [(i.mode, i.size) for i in first["images"]] == [("RGB", (4, 3))]
    assert dataset[1]["images"] == [] and len(dataset[1]["turns"]) == 4
    assert [i.getpixel((0, 0))[0] for i in dataset[2]["images"]] == [1, 0]
    assert dataset[2]["sample_id"] == "2"
    assert "images" not in build([GOOD], load_images=False)[0]


@pytest.mark.parametrize("name", ["../../secret.png", "a/../../../secret.png", "/{}"])
def test_an_image_outside_of_the_data(build, tmp_path, name) -> None:
    outside = tmp_path.parent / "secret.png"
    Image.new("L", (2, 2)).save(outside)
    record = dict(GOOD, image=name.format(outside))
    with pytest.raises(ValueError, match="secret.png, which is not in"):
        build([record])
    assert build([record, GOOD], on_bad="skip").skipped == {
        "image outside of the data": 1
    }
    # Another folder of the data, and a whole path into it.
    for inside in ("../images/a/1.png", str(tmp_path / "images/a/1.png")):
        assert build([dict(GOOD, image=inside)])[0]["images"]


def test_a_leading_answer_is_dropped(build) -> None:
    late = {"conversations": turns("old", "Q", "A", roles=("gpt", "human"))}
    assert [t["text"] for t in build([late])[0]["turns"]] == ["Q", "A"]


BAD = {
    "unknown role": {"conversations": turns("Q", "A", roles=("human", "bot"))},
    "empty conversation": {"conversations": []},
    "turns out of order": {"conversations": turns("Q", "A", "Q")},
    "image token without image": {"conversations": turns("<image> Q", "A")},
    "image without image token": {"image": "a/1.png", "conversations": turns("Q", "A")},
    "image token outside of a question": {"conversations": turns("Q", "<image>")},
    "missing image": dict(GOOD, image="a/none.png"),
    "missing field": {"image": "a/1.png"},
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_record_is_an_error_or_counted(build, kind: str) -> None:
    with pytest.raises(ValueError, match=f"number 1 with {kind}: .*on_bad='skip'"):
        build([GOOD, BAD[kind]])
    dataset = build([BAD[kind], GOOD, BAD[kind]], on_bad="skip")
    assert len(dataset) == 1 and dataset.skipped == {kind: 2}
    with pytest.raises(ValueError, match="at least one record"):
        build([BAD[kind]], on_bad="skip")


def test_an_image_stands_as_the_camera_was_held(build, tmp_path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # to be turned to the right
    Image.new("RGB", (8, 4)).save(tmp_path / "images/a/1.png", exif=exif)
    assert build([GOOD])[0]["images"][0].size == (4, 8)


def test_a_damaged_or_late_missing_image(build, tmp_path) -> None:
    dataset = build([GOOD, dict(GOOD, image="a/none.png")], check_images=False)
    with pytest.raises(DamagedImageError, match=r"none\.png"):
        dataset[1]
    (tmp_path / "images/a/1.png").write_bytes(b"no image")
    with pytest.raises(DamagedImageError, match=r"1\.png, got a file that cannot"):
        dataset[0]


def test_public_formats(build, tmp_path) -> None:
    (tmp_path / "images/5.jpg").write_bytes((tmp_path / "images/a/1.png").read_bytes())
    gqa = {"201": dict(imageId="5", question="Is it?", answer="yes")}
    gqa["201"]["types"] = dict(structural="verify", semantic="rel")
    sample = build(gqa, "VQADataset", format="gqa")[0]
    assert (sample["sample_id"], sample["question_type"]) == ("201", "verify")
    assert sample["answers"] == ["yes"]
    assert sample["turns"][0]["text"] == (
        "<image>\nIs it?\nAnswer the question using a single word or phrase."
    )
    # mmpretrain's reads LAVIS' list of questions only.
    from mmpretrain.datasets import GQA

    (tmp_path / "gqa.json").write_text(json.dumps(gqa))
    with pytest.raises(TypeError):
        GQA(str(tmp_path), "images", "gqa.json")

    text = dict(data=[dict(question_id=3, image_id="5", question="b?", answers="xy")])
    sample = build(text, "VQADataset", format="textvqa", prompt="")[0]
    assert sample["answers"] == ["x", "y"]
    assert sample["turns"][0]["text"] == "<image>\nb?"

    problem = dict(question="Which?", choices=["u", "v"], answer=1, hint="h")
    problem |= dict(image="image.png", subject="social science")
    problems = {"9": problem, "10": dict(problem, image=None, hint="")}
    (tmp_path / "pid_splits.json").write_text(json.dumps(dict(test=["9", "10"])))
    dataset = build(problems, "VQADataset", format="scienceqa", prompt="Letter.")
    assert dataset[0]["turns"][0]["text"] == (
        "<image>\nContext: h\nWhich?\nA. u\nB. v\nLetter."
    )
    assert dataset[0]["answers"] == ["B"] and dataset[0]["choices"] == ["u", "v"]
    assert dataset[1]["turns"][0]["text"] == "Which?\nA. u\nB. v\nLetter."
    assert dataset[1]["images"] == [] and dataset[1]["question_type"][:6] == "social"
    with pytest.raises(ValueError, match=r"expected one of \['test'\], got 'dev'"):
        build(problems, "VQADataset", format="scienceqa", split="dev")

    vet = {"v1_0": dict(imagename="a/2.png", question="x?", answer="-1 <AND> -5")}
    vet["v1_0"]["capability"] = ["ocr", "math"]
    sample = build(vet, "VQADataset", format="mmvet")[0]
    assert (sample["question_type"], sample["turns"][0]["text"]) == (
        "math+ocr",
        "<image>\nx?",
    )

    record = dict(GOOD, question_type="what")
    sample = build([record], "VQADataset", format="llava")[0]
    assert (sample["question"], sample["answers"]) == ("What?", ["Cat"])
    assert len(sample["turns"]) == 1 and sample["question_type"] == "what"
    long = dict(GOOD, conversations=turns("<image>", "A", "Q", "A"))
    dataset = build([long, GOOD], "VQADataset", format="llava", on_bad="skip")
    assert dataset.skipped == {"not one question": 1}


def test_exchanged_images(build) -> None:
    records = [dict(GOOD, image=f"a/{1 + i % 2}.png") for i in range(6)]
    options = dict(format="llava", load_images=False)
    plain = build(records, "VQADataset", **options)
    blind = build(records, "VQADataset", shuffle_images=0, **options)
    assert all(
        a["img_paths"] != b["img_paths"] for a, b in zip(plain, blind, strict=True)
    )
    assert [s["answers"] for s in blind] == [s["answers"] for s in plain]
    with pytest.raises(ValueError, match="at least two different images, got 1"):
        build([GOOD], "VQADataset", shuffle_images=0, **options)


def test_wrong_options_and_files(build, tmp_path) -> None:
    with pytest.raises(ValueError, match="format: expected one of"):
        build([], "VQADataset", format="okvqa")
    with pytest.raises(ValueError, match="on_bad: expected"):
        build([GOOD], on_bad="ignore")
    with pytest.raises(ValueError, match="expected the format 'gqa'"):
        build([GOOD], "VQADataset", format="gqa")
    with pytest.raises(FileNotFoundError, match="annotation file .*none.json"):
        build([GOOD], ann_file="none.json")
    (tmp_path / "cut.json").write_text("[{")
    with pytest.raises(ValueError, match="cut.json: expected JSON"):
        build([GOOD], ann_file="cut.json")


def test_lines_of_json(build, tmp_path) -> None:
    """U+2028 and its like divide no line; a byte-order mark and CRLF are no record."""
    odd = "<image>\nWhat\u2028is\u0085this\x0b?\u2029"
    records = [dict(GOOD, conversations=turns(odd, "A \x1c cat")), GOOD]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    lines = [line.replace("\\u000b", "\x0b") for line in lines]
    path = tmp_path / "lines.jsonl"
    path.write_bytes("\r\n".join([*lines, "", ""]).encode("utf-8-sig"))
    found = build([], ann_file="lines.jsonl", lazy_init=True)
    with pytest.raises(ValueError, match="line 1 .Invalid control character"):
        found.full_init()  # U+000B has to be escaped, says JSON
    path.write_bytes(path.read_bytes().replace(b"\x0b", b"\\u000b"))
    found.full_init()
    assert len(found) == 2 and found[0]["turns"][0]["text"] == odd
    whole = json.dumps([GOOD]).encode("utf-8-sig")
    (tmp_path / "marked.json").write_bytes(whole)
    assert len(build([], ann_file="marked.json")) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"id": 1}\n\n{"id": "a', r"lines\.jsonl: expected JSON.* in line 3 \("),
        (b'{"id": 1}\n{"id": "\xff"}\n', r"lines\.jsonl: expected JSON.*can't decode"),
    ],
)
def test_a_broken_line_is_named(build, tmp_path, content: bytes, words: str) -> None:
    (tmp_path / "lines.jsonl").write_bytes(content)
    with pytest.raises(ValueError, match=words):
        build([], ann_file="lines.jsonl")


def test_an_image_token_in_a_question_is_words(build, tmp_path) -> None:
    from llava_tiny import tiny_tokenizer

    from lbbt_mm.models.multimodal.conversation import Conversations

    (tmp_path / "images/5.jpg").write_bytes((tmp_path / "images/a/1.png").read_bytes())
    asks = ("Is <image> a tag?", "Is it?")
    gqa = {
        str(n): dict(imageId="5", question=q, answer="yes") for n, q in enumerate(asks)
    }
    dataset = build(gqa, "VQADataset", format="gqa")
    talk = Conversations(tiny_tokenizer())
    for sample in dataset:
        ids = talk.encode_prompt(sample["turns"]).ids
        assert ids.count(talk.image_id) == len(sample["images"]) == 1
        assert sample["question"] in talk.tokenizer.decode(ids)
