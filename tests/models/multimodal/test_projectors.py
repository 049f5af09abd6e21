"""Projectors: what they compute, what they own, and whose words they know."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from mmengine.registry import MODELS
from mmengine.runner import load_checkpoint
from tokenizers import Tokenizer, decoders, models
from torch.testing import assert_close

from lbbt_mm.language.record import decode_record
from lbbt_mm.models import MLPProjector
from lbbt_mm.models.multimodal.projectors import vocabulary_of
from lbbt_mm.models.multimodal.shared_vocabulary import (
    SharedVocabulary,
    VocabularyError,
)

WORDS = ["a", "bag", "##s", "hat", "left", "two", "red", ","]
IN, OUT = 5, 7


def tokenizer_of(words: list[str]):
    vocabulary = {word: row for row, word in enumerate(["[UNK]", *words])}
    inner = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    inner.decoder = decoders.WordPiece()
    return hf.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]")


def bridge(words: list[str] | None = None, size: int = 6, **options):
    cfg = dict(type="lbbt_mm.LangBridgeProjector", vocabulary_size=size, **options)
    projector = MODELS.build(dict(cfg, in_channels=IN, out_channels=OUT))
    if words is not None:
        projector.bind(tokenizer_of(words))
    return projector


def logits_by_hand(projector, tokens):
    first, last = projector.layers[0], projector.layers[2]
    hidden = torch.nn.functional.gelu(tokens @ first.weight.T + first.bias)
    return hidden @ last.weight.T + last.bias


def test_mlp_equals_the_projector_of_transformers():
    config = hf.LlavaConfig(
        vision_config=dict(
            model_type="clip_vision_model",
            hidden_size=IN,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
        ),
        text_config=dict(
            model_type="llama",
            hidden_size=OUT,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            vocab_size=11,
        ),
    )
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    theirs = LlavaMultiModalProjector(config)
    ours = MODELS.build(
        dict(type="lbbt_mm.MLPProjector", in_channels=IN, out_channels=OUT)
    )
    ours.bind(None)
    ours.layers[0].load_state_dict(theirs.linear_1.state_dict())
    ours.layers[2].load_state_dict(theirs.linear_2.state_dict())
    tokens = torch.randn(2, 3, IN)
    assert_close(ours(tokens, torch.randn(11, OUT)), theirs(tokens))
    assert len(list(ours.parameters())) == len(list(theirs.parameters()))


def test_mlp_of_one_layer_is_linear():
    ours = MLPProjector(IN, OUT, depth=1)
    tokens = torch.randn(2, 3, IN)
    (layer,) = ours.layers
    assert_close(ours(tokens), tokens @ layer.weight.T + layer.bias)
    with pytest.raises(ValueError, match="depth from 1, got 0"):
        MLPProjector(IN, OUT, depth=0)


@pytest.mark.parametrize("weights", ["softmax", "linear"])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_exchanging_the_embeddings_exchanges_the_words(weights, temperature):
    projector = bridge(WORDS, weights=weights, temperature=temperature)
    tokens = torch.randn(2, 3, IN)
    logits = logits_by_hand(projector, tokens) / temperature
    expected = logits.softmax(-1) if weights == "softmax" else logits
    assert_close(projector.word_weights(tokens), expected)
    rows = [1, 2, 4, 5, 6, 7]  # words by row; '##s' would be the seventh, at 3
    assert projector.ids.tolist() == rows
    for table in (torch.randn(9, OUT), torch.randn(30, OUT)):
        by_hand = sum(
            expected[..., place, None] * table[row] for place, row in enumerate(rows)
        )
        assert_close(projector(tokens, table), by_hand)
        others = table.clone()
        others[[0, 3, 8]] += 1  # rows of no entry
        assert_close(projector(tokens, others), by_hand)


def test_another_language_model_has_the_same_entries_in_other_rows():
    projector = bridge(WORDS)
    tokens, table = torch.randn(4, IN), torch.randn(9, OUT)
    before = projector(tokens, table)
    moved = [WORDS[i] for i in (3, 7, 1, 0, 6, 2, 5, 4)]
    ids = projector.ids
    projector.bind(tokenizer_of(moved))
    assert projector.ids is ids  # distributed wrappers and averages hold buffers
    order = [0, *(1 + WORDS.index(word) for word in moved)]
    assert_close(projector(tokens, table[order]), before)


def test_it_owns_nothing_of_the_language_model():
    projector = bridge(WORDS)
    held = {**dict(projector.named_parameters()), **dict(projector.named_buffers())}
    assert {name: tuple(value.shape) for name, value in held.items()} == {
        "layers.0.weight": (IN, IN),
        "layers.0.bias": (IN,),
        "layers.2.weight": (6, IN),
        "layers.2.bias": (6,),
        "ids": (6,),
    }
    assert "ids" not in projector.state_dict()


def test_gradients_reach_every_weight_and_a_table_that_trains():
    projector = bridge(WORDS)
    table = torch.randn(9, OUT, requires_grad=True)
    projector(torch.randn(3, IN), table).square().sum().backward()
    for name, parameter in projector.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
    assert table.grad.abs().sum(1).nonzero()[:, 0].tolist() == projector.ids.tolist()


def test_half_precision_of_the_table_is_kept():
    projector = bridge(WORDS)
    tokens, table = torch.randn(3, IN), torch.randn(9, OUT)
    out = projector(tokens, table.bfloat16())
    assert out.dtype == torch.bfloat16
    assert_close(out.float(), projector(tokens, table), rtol=0.05, atol=0.05)


def test_top_words_are_the_largest_weights():
    projector = bridge(WORDS)
    with torch.no_grad():
        projector.layers[2].weight.zero_()
        projector.layers[2].bias.copy_(torch.tensor([0.0, 3.0, 1.0, -5.0, 2.0, -9.0]))
    weights, words = projector.top_words(torch.randn(2, 3, IN), k=2)
    assert words == [[[" bag", " two"]] * 3] * 2
    expected = projector.layers[2].bias.softmax(-1)[[1, 4]]
    assert_close(weights, expected.expand(2, 3, 2))
    assert not weights.requires_grad
    assert projector.top_words(torch.randn(IN), k=1)[1] == [" bag"]


def test_a_vocabulary_of_a_file(tmp_path):
    path = tmp_path / "vocabulary.json"
    SharedVocabulary((" red", " bag")).save(path)
    projector = bridge(WORDS, vocabulary=str(path))
    assert projector.vocabulary_size == 2 and projector.ids.tolist() == [7, 2]
    assert projector.layers[2].out_features == 2
    with pytest.raises(VocabularyError, match="1 of the 2 entries.*' red'"):
        projector.bind(tokenizer_of(["a", "bag"]))


def test_a_tokenizer_with_too_few_words():
    projector = bridge(size=10)
    with pytest.raises(VocabularyError, match="expects 10 entries.*has 8.*=8 or less"):
        projector.bind(tokenizer_of(WORDS))


def test_wrong_use_is_one_clear_sentence():
    with pytest.raises(ValueError, match="'softmax' or 'linear'.*got 'relu'"):
        bridge(weights="relu")
    with pytest.raises(ValueError, match="above 0, got 'softmax' and 0"):
        bridge(temperature=0)
    with pytest.raises(VocabularyError, match="not bound.*bind"):
        bridge()(torch.randn(1, IN), torch.randn(9, OUT))
    with pytest.raises(VocabularyError, match="no vocabulary yet"):
        bridge().top_words(torch.randn(1, IN))
    projector = bridge(WORDS)
    with pytest.raises(VocabularyError, match=r"at least 8 rows and 7 .*got \(7, 7\)"):
        projector(torch.randn(1, IN), torch.randn(7, OUT))
    with pytest.raises(VocabularyError, match=r"7 columns, got \(9, 8\)"):
        projector(torch.randn(1, IN), torch.randn(9, 8))


class Model(torch.nn.Module):
    """Something that holds a projector, as a checkpoint sees it."""

    def __init__(self, projector) -> None:
        super().__init__()
        self.projector = projector


def load(projector, state, tmp_path, road: str) -> None:
    """Load a model's weights as torch does, or as mmengine does from a file."""
    if road == "torch":
        Model(projector).load_state_dict(state)
    else:
        path = tmp_path / "checkpoint.pth"
        torch.save({"state_dict": state}, path)
        assert torch.load(path, weights_only=True)["state_dict"].keys() == state.keys()
        load_checkpoint(Model(projector), str(path), map_location="cpu")


@pytest.mark.parametrize("road", ["torch", "mmengine"])
class TestCheckpoint:
    # Other words first: a vocabulary chosen here would be another one.
    OTHER = ["two", "hat", "a", "bag", "red", "left"]

    @pytest.mark.parametrize("bound", [True, False])
    def test_its_words_are_adopted(self, road, bound, tmp_path):
        trained = bridge(WORDS)
        tokens, table = torch.randn(4, IN), torch.randn(9, OUT)
        other = tokenizer_of(self.OTHER)
        again = bridge()
        if bound:
            again.bind(other)
            assert again.vocabulary != trained.vocabulary
        load(again, Model(trained).state_dict(), tmp_path, road)
        assert again.vocabulary == trained.vocabulary
        if not bound:
            again.bind(other)
        assert again.ids.tolist() == [3, 4, 2, 6, 1, 5]
        order = [0, *(1 + WORDS.index(word) for word in self.OTHER)]
        assert_close(again(tokens, table[order]), trained(tokens, table))

    def test_words_that_the_language_model_lacks(self, road, tmp_path):
        trained = bridge(WORDS)
        again = bridge(["a", "bag", "hat", "one", "six", "ten"])
        chosen = again.vocabulary
        with pytest.raises(VocabularyError, match="3 of the 6.*transfer_projector"):
            load(again, Model(trained).state_dict(), tmp_path, road)
        assert again.vocabulary == chosen

    def test_a_vocabulary_of_the_config_stays(self, road, tmp_path):
        path = tmp_path / "vocabulary.json"
        trained = bridge(WORDS)
        state = Model(trained).state_dict()
        SharedVocabulary(trained.vocabulary.texts[::-1]).save(path)
        other = bridge(vocabulary=path)
        message = rf"{trained.vocabulary.digest[:12]}.*{other.vocabulary.digest[:12]}"
        with pytest.raises(VocabularyError, match=f"{message}.*0 is ' a' .* ' red'"):
            load(other, state, tmp_path, road)
        trained.vocabulary.save(path)
        same = bridge(vocabulary=path)
        load(same, state, tmp_path, road)
        assert_close(same.layers[2].weight, trained.layers[2].weight)

    def test_another_number_of_entries(self, road, tmp_path):
        state = Model(bridge(WORDS)).state_dict()
        with pytest.raises(VocabularyError, match="6 entries.*this one has 5.*=6"):
            load(bridge(size=5), state, tmp_path, road)

    def test_weights_of_no_words(self, road, tmp_path):
        state = Model(bridge()).state_dict()
        load(bridge(), state, tmp_path, road)
        with pytest.raises(VocabularyError, match="never bound"):
            load(bridge(WORDS), state, tmp_path, road)


def test_the_words_are_found_in_a_checkpoint():
    projector = bridge(WORDS)
    state = Model(projector).state_dict()
    strange = {"language._extra_state": torch.tensor([1, 2], dtype=torch.uint8)}
    assert vocabulary_of({**strange, **state}) == projector.vocabulary
    assert vocabulary_of(strange) is None
    with pytest.raises(VocabularyError, match="not readable"):
        projector.set_extra_state(strange["language._extra_state"])
    # open_checkpoint looks for the record of a language model among extra states.
    assert decode_record(state["projector._extra_state"]) is None


def test_a_record_that_was_damaged():
    projector = bridge(WORDS)
    state = bytes(projector.get_extra_state().tolist()).replace(b" hat", b" cat")
    damaged = torch.frombuffer(bytearray(state), dtype=torch.uint8)
    with pytest.raises(VocabularyError, match="sha256"):
        projector.set_extra_state(damaged)
