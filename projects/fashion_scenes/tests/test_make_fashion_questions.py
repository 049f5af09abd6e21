"""make_questions.py as its user sees it, and the balance of the questions."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from fashion_scenes.blind import blind_accuracy
from fashion_scenes.questions import Question, _Seen, captions, questions_of
from PIL import Image

FOLDERS = {"train": "training", "val": "validation"}


@pytest.fixture
def make(tool, project):
    """Run the tool on annotations of random scenes; only val has images."""
    rng = np.random.default_rng(0)
    root = project.root / "scenes"
    (root / "detection").mkdir(parents=True)
    for split, count in (("train", 600), ("val", 300)):
        folder = root / "images" / FOLDERS[split]
        folder.mkdir(parents=True)
        images, annotations = [], []
        for number in range(count):
            name = f"{split}_{number:06d}.png"
            images.append(dict(id=number, file_name=name, width=32, height=32))
            if split == "val":
                Image.new("RGB", (32, 32)).save(folder / name)
            for _ in range(rng.integers(0, 4)):
                x, y, side = rng.integers(0, 20, 3).tolist()
                where = dict(bbox=[x, y, side + 4, side + 4], area=(side + 4) ** 2)
                kind = int(rng.integers(1, 4))
                annotations.append(dict(where, image_id=number, category_id=kind))
        content = json.dumps(dict(images=images, annotations=annotations))
        (root / "detection" / f"{split}.json").write_text(content)

    def run(*options: object) -> Path:
        words = ("--scenes", "scenes", "--out", "made", "--train", 60, "--val", 30)
        tool("projects/fashion_scenes/make_questions.py", *words, *options).main()
        return project.root / "made"

    return run


def test_it_makes_balanced_questions(make, capfd) -> None:
    made = make()
    out, progress = capfd.readouterr()
    assert "val: 100 %" in progress and "val how_many: 30 questions" in out
    names = {"captions.json", "examples.png", "summary.json", "train.json"}
    names |= {"train_by_image.json", "val.json"}
    assert {p.name for p in made.iterdir()} == names
    summary = json.loads((made / "summary.json").read_text())
    for split in ("train", "val"):
        by_text = defaultdict(Counter)
        types = Counter()
        for record in json.loads((made / f"{split}.json").read_text()):
            asked, said = (turn["value"] for turn in record["conversations"])
            by_text[asked][said] += 1
            types[record["question_type"]] += 1
            assert asked.startswith("<image>\n")
            assert record["image"].startswith(f"{FOLDERS[split]}/{split}_")
        assert set(types) == {"what", "how_many", "where", "larger"}
        for asked, answers in by_text.items():
            assert len(set(answers.values())) == 1 and len(answers) > 1, asked
        found = summary["questions"][split]
        assert {kind: found[kind]["questions"] for kind in types} == types
    blind = summary["blind_accuracy_on_val"]
    # Three counts; two sides of every question of where and of size.
    guess = blind["commonest_answer_of_the_question"]
    assert guess["how_many"] == pytest.approx(100 / 3)
    assert guess["where"] == guess["larger"] == 50


def test_the_same_command_makes_the_same_questions(make) -> None:
    made = make()
    first = {p.name: p.read_bytes() for p in made.iterdir()}
    made.rename(made.with_name("before"))
    assert {p.name: p.read_bytes() for p in make().iterdir()} == first
    made.rename(made.with_name("again"))
    assert (make("--seed", 1) / "val.json").read_bytes() != first["val.json"]


def test_what_cannot_be_made(make, project) -> None:
    with pytest.raises(SystemExit, match="type 'what' in a balanced way .* at most 1"):
        make("--val", 1)
    (project.root / "made").mkdir()
    with pytest.raises(SystemExit, match="expected a folder that does not exist yet"):
        make()
    with pytest.raises(SystemExit, match=r"Expected fashion scenes .* make them with"):
        make("--out", "other", "--scenes", "nowhere")
    assert not (project.root / "other").exists()
    assert not list((project.root / "made").iterdir())


def asked(*garments: _Seen) -> set[tuple[str, str]]:
    return {(q.text, q.answer) for q in questions_of("x.png", garments)}


def test_only_clear_questions_are_asked() -> None:
    bag = _Seen("bag", 0.2, 0.45, 150, 0.1)
    boot = _Seen("boot", 0.27, 0.9, 100, 0.15)
    assert asked(bag, boot) == {
        ("How many garments are there?", "2"),
        ("What is the largest garment?", "bag"),
        ("Is the bag at the left or at the right?", "left"),
        ("Is the boot at the left or at the right?", "left"),
        ("Is the boot at the top or at the bottom?", "bottom"),
        ("Which is larger, the bag or the boot?", "bag"),
    }
    further = asked(bag._replace(area=149), boot._replace(x=0.29))
    assert ("What is the leftmost garment?", "bag") in further
    assert not any("large" in text for text, _ in further)
    wide = asked(bag, boot._replace(x=0.29, edge=0.13))
    assert not any("leftmost" in text for text, _ in wide)
    assert asked(boot._replace(x=0.5)) >= {("What is this?", "boot")}
    assert asked() == set()
    legs = asked(_Seen("trousers", 0.9, 0.5, 9, 0.8))
    assert ("Are the trousers at the left or at the right?", "right") in legs
    twins = asked(bag, bag._replace(area=10))
    assert not any("the bag" in text for text, _ in twins)


def test_questions_of_an_image_are_one_conversation(make) -> None:
    made = make()
    single = json.loads((made / "train.json").read_text())
    merged = json.loads((made / "train_by_image.json").read_text())
    assert len(merged) < len(single)
    assert max(len(one["conversations"]) for one in merged) == 2 * 3
    apart = Counter()
    for one in merged:
        turns = one["conversations"]
        assert [turn["value"].count("<image>") for turn in turns[1:]] == [0] * (
            len(turns) - 1
        )
        for asked, said in zip(turns[::2], turns[1::2], strict=True):
            text = "<image>\n" + asked["value"].removeprefix("<image>\n")
            apart[one["image"], text, said["value"]] += 1
    assert apart == Counter(
        (one["image"], *(turn["value"] for turn in one["conversations"]))
        for one in single
    )


def test_captions_say_what_is_where() -> None:
    garments = [
        _Seen("boot", 0.9, 0.1, 5, 0.8),
        _Seen("bag", 0.1, 0.5, 9, 0.0),
        _Seen("coat", 0.5, 0.5, 9, 0.4),
    ]
    scenes = [("a.png", garments), ("b.png", []), ("c.png", garments[:1])]
    found = captions(scenes, "train")
    assert [one["image"] for one in found] == ["training/a.png", "training/c.png"]
    said = [one["conversations"][1]["value"] for one in found]
    assert said == [
        "3 garments: bag left, coat middle, boot top right",
        "1 garment: boot top right",
    ]


def test_blind_answers() -> None:
    def asked(kind: str, text: str, answer: str) -> Question:
        return Question(kind, kind, "0.png", text, answer)

    train = [asked("n", "q1", "1"), asked("n", "q1", "1"), asked("n", "q2", "2")]
    held = [asked("n", "q1", "1"), asked("n", "q2", "2"), asked("n", "new", "1")]
    held += [asked("never", "q", "1")]
    assert blind_accuracy(train, held) == {"all": 50, "n": 200 / 3, "never": 0}
    by_text = blind_accuracy(train, held, by="text")
    assert by_text == {"all": 75, "n": 100, "never": 0}
