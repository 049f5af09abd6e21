"""The small GPT-2: clean text, a fair split, a run, its resumption, its errors."""

from __future__ import annotations

import errno
import gzip
import json
import math
import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lbbt_mm.language import open_checkpoint

pytestmark = pytest.mark.slow

TINY = [
    *("--blocks", "2", "--width", "16", "--heads", "2", "--context", "16"),
    *("--vocabulary", "300", "--batch-tokens", "128", "--micro-batch", "3"),
    *("--held-out", "0.2", "--device", "cpu", "--dtype", "float32"),
]
PROSE = "This is a plain sentence of the kind that people write to be read by others."


@pytest.fixture
def text(tmp_path):
    """A folder of forty files of nonsense in English grammar."""
    draw = random.Random(0)
    nouns = "house river window teacher garden letter picture engine".split()
    verbs = "sees holds follows paints carries finds".split()
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(40):
        lines = [
            f"The {draw.choice(nouns)} in the {draw.choice(nouns)} that it "
            f"{draw.choice(verbs)} is not the {draw.choice(nouns)} of a "
            f"{draw.choice(nouns)}, and it {draw.choice(verbs)} on."
            for _ in range(12)
        ]
        (folder / f"{number}.txt").write_text("\n\n".join(lines))
    return folder


@pytest.fixture
def pretrain(tool, text, tmp_path):
    """Run the tool in this process: ``pretrain('--steps', '3')``."""

    def run(*options, paths=(text,), before=lambda module: None):
        arguments = [*paths, "--out", tmp_path / "out", *TINY, *options]
        module = tool("projects/small_gpt2/pretrain.py", *arguments)
        before(module)
        module.main()
        return tmp_path / "out"

    return run


@pytest.fixture
def rooms(tool):
    """The modules beside the tool."""
    tool("projects/small_gpt2/pretrain.py", "--out", "x")
    names = ("text", "tokens", "model")
    return SimpleNamespace(**{n: sys.modules[f"small_gpt2.{n}"] for n in names})


def fails(capsys, run, *arguments, **options):
    with pytest.raises(SystemExit) as caught:
        run(*arguments, **options)
    assert caught.value.code == 2
    return capsys.readouterr().err


def test_a_run_ends_in_a_model_that_everybody_opens(pretrain, capsys):
    import transformers as hf

    out = pretrain("--steps", "60", "--lr", "0.02")
    log = json.loads((out / "log.json").read_text())
    held_out = log["held_out"]
    assert held_out["model"]["perplexity"] < 0.5 * held_out["unigram"]["perplexity"]
    for name in ("model", "unigram"):
        values = held_out[name]
        assert values["perplexity"] == pytest.approx(math.exp(values["loss"]))
        per_byte = values["loss"] / math.log(2) / log["text"]["bytes_per_token"]
        assert values["bits_per_byte"] == pytest.approx(per_byte)
    curve = log["curve"]
    assert len(curve) == 60 and curve[-1]["loss"] < curve[0]["loss"]
    assert curve[-1]["lr"] == pytest.approx(0.002)
    assert log["steps"] == 60 and log["tokens"] == 60 * 128
    assert log["settings"]["seed"] == 0 and log["precision"] == "float32"
    assert len(log["samples"]) >= 1 and (out / "loss.png").exists()
    printed = capsys.readouterr().out
    assert f"> {log['samples'][0]}" in printed and "bits per byte" in printed

    tokenizer = hf.GPT2TokenizerFast.from_pretrained(out)
    assert tokenizer.decode(tokenizer(PROSE + " é")["input_ids"]) == PROSE + " é"
    model = hf.GPT2LMHeadModel.from_pretrained(out).eval()
    assert model.config.activation_function == "gelu_new"
    assert model.config.vocab_size == len(tokenizer) == 300
    with torch.no_grad():  # the loss of the log, through transformers' own GELU
        tokens = np.load(out / "training" / "tokens.npz")["held_out"].astype(np.int64)
        windows = torch.from_numpy(tokens[: len(tokens) // 16 * 16 - 15])
        rows = windows[:-1].view(-1, 16), windows[1:].view(-1, 16)
        logits = model(rows[0]).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[1].flatten())
    assert loss.item() == pytest.approx(held_out["model"]["loss"], rel=0.02)

    opened = open_checkpoint(str(out))
    assert opened.config.num_layers == 2 and opened.config.width == 16


@pytest.mark.parametrize(
    ("reason", "words"),
    [("a key", "stopped."), ("a full disk", "state.pt could not be written (No space")],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(
    pretrain, capsys, tmp_path, reason, words
):
    whole = pretrain("--steps", "12").rename(tmp_path / "whole")
    state = tmp_path / "out/training/state.pt"

    with pytest.MonkeyPatch.context() as patch:

        def stop(module):
            room = sys.modules["small_gpt2.train"]
            step, write = module.Trainer.step, room.write_whole

            def step_until_7(self, lr):
                if self.state.step == 7:
                    raise KeyboardInterrupt
                return step(self, lr)

            def write_once(path, content):
                if state.exists():
                    raise OSError(errno.ENOSPC, "No space left on device", str(path))
                write(path, content)

            if reason == "a key":
                patch.setattr(module.Trainer, "step", step_until_7)
            else:
                patch.setattr(room, "write_whole", write_once)

        options = ("--steps", "12", "--save-minutes", "0")
        said = fails(capsys, pretrain, *options, before=stop)
    assert words in said and "--resume" in said
    assert not (tmp_path / "out" / "model.safetensors").exists()
    assert "go on with --resume" in fails(capsys, pretrain, "--steps", "12")
    said = fails(capsys, pretrain, "--steps", "13", "--resume")
    assert "was started with steps=12" in said

    out = pretrain("--resume", paths=())
    for name in ("model.safetensors", "tokenizer.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    curve = json.loads((out / "log.json").read_text())["curve"]
    assert [point["step"] for point in curve] == list(range(1, 13))
    assert "is complete" in fails(capsys, pretrain, "--resume", paths=())


def test_time_ends_the_run_and_the_schedule(pretrain):
    log = json.loads((pretrain("--minutes", "0.01") / "log.json").read_text())
    assert log["seconds"] >= 0.6
    assert log["curve"][-1]["lr"] == pytest.approx(1e-4)


def test_a_loss_that_is_not_finite_ends_the_run_and_is_not_saved(
    pretrain, capsys, tmp_path, monkeypatch
):
    def poison(module):
        step = module.Trainer.step

        def poisoned(self, lr):
            if self.state.step == 3:
                self.model.transformer.wte.weight.data[0, 0] = math.nan
            return step(self, lr)

        monkeypatch.setattr(module.Trainer, "step", poisoned)

    options = ("--steps", "9", "--save-minutes", "0")
    said = fails(capsys, pretrain, *options, before=poison)
    assert "not finite at step 4" in said and "a lower --lr than 0.001" in said
    state = torch.load(tmp_path / "out/training/state.pt", weights_only=True)
    assert state["state"]["step"] == 3
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--steps", "1", "--minutes", "1"], "--minutes or --steps, got both"),
        (["--steps", "0"], "--steps expects a number above 0, got 0"),
        (["--heads", "3"], "multiple of --heads, got 16 and 3"),
        (["--vocabulary", "256"], "expected 257 or more, got 256"),
        (["--held-out", "1"], "between 0 and 1, got 1.0"),
        (["--context", "4096"], "tokens; expected at least 8193. Name more text"),
        (["--device", "cuda"], "there is none; leave out --device"),
    ],
)
def test_bad_options_are_one_sentence(pretrain, capsys, tmp_path, options, words):
    assert words in fails(capsys, pretrain, *options)
    assert not (tmp_path / "out").exists()


def test_bad_text_is_one_sentence(pretrain, capsys, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken.txt.gz"
    broken.write_bytes(b"not gzip")
    for paths, words in (
        ([], "expected TEXT, files or folders"),
        ([tmp_path / "none"], "none does not exist"),
        ([empty], "0 documents to train on and 0 held out"),
        ([broken], "broken.txt.gz: Not a gzipped file"),
    ):
        assert words in fails(capsys, pretrain, paths=paths)
        assert not (tmp_path / "out").exists()


def test_nothing_is_overwritten(pretrain, capsys, tmp_path):
    other = tmp_path / "out" / "mine.txt"
    other.parent.mkdir()
    other.write_text("kept")
    assert "go on with --resume, or choose" in fails(capsys, pretrain)
    assert "cannot be resumed, or choose" in fails(capsys, pretrain, "--resume")
    assert [p.name for p in other.parent.iterdir()] == ["mine.txt"]


def sentence(word):
    return PROSE.replace("plain", word)


def test_prose_stays_and_everything_else_goes(rooms, tmp_path):
    def put(name, content):
        data = content if isinstance(content, bytes) else content.encode()
        path = tmp_path / "share" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(data) if path.suffix in (".gz", ".dz") else data)

    put(
        "a.html",
        f"<html><head><title>{sentence('head')}</title></head><p>{sentence('caf&eacute;')}"
        f"</p><script>{sentence('script')}</script><pre>{sentence('code')}</pre>"
        f"<li>This is a <b>s</b>hort\n<i>sentence</i> of the kind.</li></html>",
    )
    put(
        "b.7.gz",
        f'.TH B 7\n.SH NAME\n.\\" {sentence("comment")}\n{sentence("manual")}\n'
        f".B bold\nand \\fIitalic\\fP words\\-in\\-one are \\(aqquoted\\(aq here."
        f"\n.PP\n.nf\n{sentence('table')}\n.fi\n",
    )
    put("c.dict.dz", f"   1. {{Word}}: {sentence('defined')}\n      [1913 Webster]\n")
    put("d.txt", f"{PROSE}\n\nint main() {{ return 0; }} // of the and to in is\n")
    put("e.txt", f"Again:\n\n{PROSE.upper()}\n")  # a repetition
    put("f.txt", sentence("Latin-1 é").encode("latin-1"))
    put(
        "german.txt",
        "Hier steht ein Satz, wie ihn Leute lesen.\n\nUnd noch ein Satz von denen.",
    )
    put("g.png", sentence("picture"))
    put("binary", sentence("binary").encode() + b"\0")
    put("changelog.gz", sentence("changed"))
    put("html/_sources/a.txt", sentence("source"))
    corpus = rooms.text.read_corpus([tmp_path / "share"], 0.0)
    lines = "\n".join(corpus.train).splitlines()
    assert sorted(lines) == sorted(
        [
            sentence("café"),
            "This is a short sentence of the kind.",
            f"{sentence('manual')} bold and italic words-in-one are 'quoted' here.",
            f"1. Word: {sentence('defined')}",
            PROSE,
            sentence("Latin-1 é"),
        ]
    )
    statistics = corpus.statistics
    assert statistics["train_documents"] == 5
    assert statistics["paragraphs"] == 6 and statistics["paragraphs_repeated"] == 1
    assert statistics["documents_not_english"] == 1
    assert statistics["train_bytes"] == sum(len(d.encode()) for d in corpus.train)
    # A file that is named itself is read whatever its ending.
    named = rooms.text.read_corpus([tmp_path / "share" / "g.png"], 0.0)
    assert named.train == [sentence("picture")]


def test_a_document_stays_on_its_side(rooms, text):
    before = rooms.text.read_corpus([text], 0.3)
    assert 0 < len(before.held_out) < len(before.train)
    (text / "00.txt").write_text(sentence("new"))
    after = rooms.text.read_corpus([text], 0.3)
    assert set(before.held_out) <= set(after.held_out)
    assert set(before.train) <= set(after.train)
    lines = [
        set("\n".join(side).splitlines()) for side in (after.train, after.held_out)
    ]
    assert not lines[0] & lines[1], "a paragraph is on one side only"


def test_a_long_file_is_several_documents(rooms, tmp_path):
    path = tmp_path / "long.txt"
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [f"{letters[i // 26 % 26]}{letters[i % 26]}q" for i in range(650)]
    path.write_text("\n\n".join(map(sentence, words)))
    documents = rooms.text.read_corpus([path], 0.0).train
    assert len(documents) == 2
    assert [line for d in documents for line in d.splitlines()] == [
        sentence(word) for word in words
    ]


def test_every_window_once_a_pass(rooms):
    tokens = np.arange(1003, dtype=np.uint16)
    windows = rooms.tokens.Windows(tokens, context=10, seed=0)
    assert windows.per_pass == 99
    passes = windows.get(0, 198).view(2, 99, 11)
    for some in passes:
        assert (some.diff() == 1).all()
        firsts = some[:, 0].sort().values
        assert (firsts.diff() == 10).all()
    assert not torch.equal(*passes), "cut and ordered anew"
    again = rooms.tokens.Windows(tokens, context=10, seed=0)
    torch.testing.assert_close(again.get(150, 20), windows.get(150, 20))
    other = rooms.tokens.Windows(tokens, context=10, seed=1)
    assert not torch.equal(other.get(0, 99), passes[0])


def test_held_out_windows_predict_each_token_once(rooms):
    tokens = np.arange(100, dtype=np.uint16)
    batches = list(rooms.tokens.held_out_windows(tokens, context=10, rows=4))
    assert [len(batch) for batch in batches] == [4, 4, 1]
    targets = torch.cat(batches)[:, 1:].flatten()
    torch.testing.assert_close(targets, torch.arange(1, 91))
    (few,) = rooms.tokens.held_out_windows(tokens, context=10, rows=4, most=3)
    assert few[:, 0].tolist() == [0, 40, 80]


def test_the_baseline_knows_frequencies(rooms):
    loss = rooms.tokens.unigram_loss(np.array([0, 0, 1]), np.array([0, 2]), 3)
    assert loss == pytest.approx(-(math.log(3 / 6) + math.log(1 / 6)) / 2)
    measures = rooms.tokens.measures(math.log(8), tokens_per_byte=0.25)
    assert measures["perplexity"] == pytest.approx(8)
    assert measures["bits_per_byte"] == pytest.approx(0.75)


def test_only_the_matrices_of_blocks_decay(rooms):
    args = SimpleNamespace(
        seed=0, blocks=1, width=8, heads=2, context=4, dropout=0.0, device="cpu"
    )
    gpt2 = rooms.model.build_model(args, 16)
    decayed, rest = rooms.model.adamw(gpt2, 1e-3, 0.1).param_groups
    assert decayed["weight_decay"] == 0.1 and rest["weight_decay"] == 0
    assert all(p.ndim == 2 for p in decayed["params"]) and len(decayed["params"]) == 4
    assert len(decayed["params"]) + len(rest["params"]) == len(list(gpt2.parameters()))
