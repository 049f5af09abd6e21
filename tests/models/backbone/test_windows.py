"""Attention in windows: that of the whole map, with what lies outside masked."""

from __future__ import annotations

import pytest
import torch
import transformers as hf
from torch import Tensor
from torch.testing import assert_close

from lbbt_mm.analysis.activation import activation_ratio
from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone

GRID = 5, 7  # patches of the images, which no window of 3 divides


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Positions of each kind: a table, rotary angles, a relative bias."""
    sizes = dict(hidden_size=16, intermediate_size=24, num_attention_heads=2)
    sizes |= dict(num_hidden_layers=4, vocab_size=64, max_position_embeddings=64)
    models = {
        "gpt2": hf.GPT2Model(
            hf.GPT2Config(n_embd=16, n_layer=4, n_head=2, n_positions=64, vocab_size=64)
        ),
        "bert": hf.BertModel(hf.BertConfig(**sizes)),
        "llama": hf.LlamaModel(hf.LlamaConfig(**sizes, num_key_value_heads=1)),
        "t5": hf.T5EncoderModel(
            hf.T5Config(d_model=16, d_ff=24, d_kv=8, num_layers=4, num_heads=2,
                        vocab_size=64, relative_attention_num_buckets=8,
                        relative_attention_max_distance=16)
        ),
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return {name: str(folder / name) for name in models}


def make(source: str, **options) -> LanguageBackbone:
    torch.manual_seed(0)
    options = dict(pretrained=True, img_size=(20, 28), patch_size=4) | options
    backbone = LanguageBackbone(source, **dict(dict(out_type="raw"), **options))
    backbone.init_weights()
    with torch.no_grad():  # so that attention is far from the mean
        for block in backbone.language.blocks:
            block.qkv.weight.mul_(0.2 / block.qkv.weight.std())
    return backbone.eval()


def window_of(places: Tensor, side: int) -> Tensor:
    rows, columns = places // GRID[1], places % GRID[1]
    return rows // side * 100 + columns // side


def reference(block, x: Tensor, relative, causal: bool, side: int) -> Tensor:
    """Run one block over the whole map, with what lies in other windows masked."""
    length = x.shape[1]
    window = window_of(torch.arange(length), side)
    seen = window[:, None] == window[None, :]
    if causal:
        seen &= torch.ones_like(seen).tril()
    bias = torch.zeros(length, length).masked_fill(~seen, float("-inf"))
    if isinstance(relative, Tensor):
        return block(x, False, relative + bias)
    block._window_mask = lambda *_: seen
    try:
        return block(x, False, relative)
    finally:
        del block._window_mask


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("family", ["gpt2", "bert", "llama", "t5"])
def test_a_block_in_windows_is_the_block_with_a_mask(sources, family, attention):
    backbone = make(
        sources[family], attention=attention, window_size=3, global_blocks=[3]
    )
    images = torch.randn(2, 3, 20, 28)
    stack = backbone.language
    tokens, grid = backbone.patch_embed(images)
    x = backbone.embed(tokens)
    assert grid == GRID
    relative = stack.relative_positions(x)
    for block in stack.blocks[:3]:
        x = reference(block, x, relative, attention == "causal", 3)
    x = stack.finish(stack.blocks[3](x, attention == "causal", relative))
    assert_close(backbone(images)[0], x, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("prefix", [None, "new"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_a_window_that_covers_the_map_is_no_window(sources, family, prefix):
    options = dict(prefix_tokens=prefix, attention="bidirectional")
    plain = make(sources[family], **options)
    cut = make(sources[family], window_size=7, global_blocks=1, **options)
    images = torch.randn(2, 3, 20, 28)
    assert_close(cut(images)[0], plain(images)[0], rtol=1e-5, atol=1e-6)
    larger = make(sources[family], window_size=2, global_blocks=1, **options)
    assert (larger(images)[0] - plain(images)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_no_gradient_comes_from_outside_of_a_window(sources, family):
    backbone = make(
        sources[family], attention="bidirectional", window_size=3, global_blocks=[]
    )
    images = torch.randn(1, 3, 20, 28, requires_grad=True)
    (tokens,) = backbone(images)
    window = window_of(torch.arange(35), 3)
    for place in (0, 16, 34):
        (grad,) = torch.autograd.grad(tokens[0, place, 0], images, retain_graph=True)
        patches = grad[0].unfold(1, 4, 4).unfold(2, 4, 4).abs().amax((0, 3, 4))
        assert torch.equal(patches.flatten() > 0, window == window[place])


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_a_token_in_front_is_seen_in_every_window(sources, family):
    backbone = make(
        sources[family],
        attention="bidirectional",
        window_size=3,
        global_blocks=[],
        prefix_tokens="new",
        num_layers=1,
    )
    (tokens,) = backbone(torch.randn(1, 3, 20, 28))
    for place in (0, 17, 34):
        (grad,) = torch.autograd.grad(
            tokens[0, place, 0], backbone.prefix.tokens, retain_graph=True
        )
        assert grad.abs().max() > 0
    # With its own place: a patch's output is that of its window, alone in a sequence.
    x = backbone.embed(backbone.patch_embed(torch.randn(1, 3, 20, 28))[0])
    block = backbone.language.blocks[0]
    window = window_of(torch.arange(35), 3)
    places = torch.cat(
        (torch.zeros(1).long(), 1 + (window == window[34]).nonzero()[:, 0])
    )
    relative = backbone.language.relative_positions(x, places[None])
    alone = block(x[:, places], False, relative)
    from lbbt_mm.models.backbone.windows import Windows

    windows = Windows(3, GRID, backbone.language, x)
    joined = windows.join(block(*windows.inputs(x, False)))
    assert_close(joined[:, places[1:]], alone[:, 1:], rtol=1e-4, atol=1e-5)
    if family == "gpt2":
        each = block(*windows.inputs(x, False))[:, 0]
        assert len(each) == 6
        assert_close(joined[0, 0], each.mean(0))


def test_recomputation_and_drop_path_act_on_images(sources):
    options = dict(window_size=3, global_blocks=2, attention="bidirectional")
    plain, saving = (
        make(sources["llama"], **options, with_cp=with_cp) for with_cp in (False, True)
    )
    images = torch.randn(2, 3, 20, 28)
    for backbone in (plain, saving):
        backbone.train()(images)[0].pow(2).sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert_close(a.grad, b.grad)
    dropping = make(sources["llama"], **options, drop_path_rate=0.9).train()
    x = dropping.embed(dropping.patch_embed(images.repeat(8, 1, 1, 1))[0])
    from lbbt_mm.models.backbone.windows import cut_windows

    windows = cut_windows(dropping, x, GRID)
    out = dropping.run_block(dropping.language.blocks[2], 2, x, None, False, windows)
    changed = (out - x).abs().amax(-1) > 0  # images are left out as a whole
    assert torch.equal(changed.any(1), changed.all(1)) and not changed.all()


def test_every_parameter_trains_and_half_precision_runs(sources):
    for family in ("gpt2", "t5"):
        backbone = make(sources[family], window_size=3, global_blocks=1).train()
        with torch.autocast("cpu", torch.bfloat16):
            out = backbone(torch.randn(2, 3, 20, 28))[0]
        out.pow(2).sum().backward()
        assert all(p.grad is not None for p in backbone.parameters())
        assert out.isfinite().all()


def test_the_last_token_of_a_windowed_last_block(sources):
    options = dict(window_size=3, global_blocks=[0], attention="causal")
    raw = make(sources["gpt2"], **options)
    last = make(sources["gpt2"], **options, out_type="last")
    images = torch.randn(2, 3, 20, 28)
    assert_close(last(images)[0], raw(images)[0][:, -1])


@pytest.mark.parametrize(
    ("num_layers", "wanted", "blocks"),
    [
        (12, None, [2, 5, 8, 11]),
        (12, 4, [2, 5, 8, 11]),
        (24, None, [5, 11, 17, 23]),
        (30, 4, [6, 14, 21, 29]),
        (6, (-1, 0), [0, 5]),
    ],
)
def test_global_blocks_are_evenly_spread(num_layers, wanted, blocks):
    with torch.device("meta"):
        backbone = LanguageBackbone(
            "gpt2" if num_layers < 13 else "gpt2-xl",
            pretrained=False,
            num_layers=num_layers,
            window_size=14,
            global_blocks=wanted,
        )
    assert backbone.global_blocks == blocks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(global_blocks=2), "global_blocks=2 has no effect without window_size"),
        (dict(window_size=3), "window_size=3 has no effect: all 4 blocks are global"),
        (dict(window_size=0), "window_size must be a positive whole number of patches"),
        (dict(window_size=3, global_blocks=0), "global_blocks must be a positive"),
        (dict(window_size=3, global_blocks=[4]), "global_blocks must name blocks from"),
        (dict(window_size=3, global_blocks="all"), "global_blocks must be a positive"),
    ],
)
def test_options_without_effect_are_refused(sources, options, message):
    with pytest.raises(ValueError, match=message):
        LanguageBackbone(sources["gpt2"], **options)


def test_what_cannot_be_cut_is_refused(sources, tmp_path):
    options = dict(window_size=3, global_blocks=1, pretrained=False)
    with pytest.raises(ValueError, match="no meaning where a random share"):
        MaskedLanguageBackbone(sources["gpt2"], img_size=32, **options)
    backbone = LanguageBackbone(sources["gpt2"], img_size=32, **options)
    with pytest.raises(ValueError, match="blocks run on padded windows"):
        activation_ratio(backbone, [torch.zeros(1, 3, 32, 32)])
    sizes = dict(hidden_size=16, intermediate_size=24, num_attention_heads=2)
    config = hf.GPTNeoXConfig(num_hidden_layers=2, vocab_size=8, **sizes)
    config.save_pretrained(tmp_path / "neox")
    with pytest.raises(ValueError, match="gpt_neox model runs over transformers' own"):
        LanguageBackbone(str(tmp_path / "neox"), **options)
    sizes |= dict(num_key_value_heads=1, sliding_window=30, vocab_size=8)
    config = hf.MistralConfig(num_hidden_layers=2, **sizes)
    config.save_pretrained(tmp_path / "mistral")
    backbone = LanguageBackbone(str(tmp_path / "mistral"), patch_size=4, **options)
    backbone(torch.zeros(1, 3, 20, 24))
    with pytest.raises(ValueError, match="35 tokens are more than the 30"):
        backbone(torch.zeros(1, 3, 20, 28))


def test_a_checkpoint_says_which_windows_it_was_trained_with(sources, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    plain = make(sources["gpt2"])
    cut = make(sources["gpt2"], window_size=3, global_blocks=1)
    cut.load_state_dict(cut.state_dict())
    assert "was trained with" not in caplog.text
    for ours, theirs, there in (
        (plain, cut, "window_size=3 there, None here; global_blocks=[3] there, None"),
        (cut, plain, "window_size=None there, 3 here; global_blocks=None there, [3]"),
        (make(sources["gpt2"], window_size=5, global_blocks=1), cut,
         "window_size=3 there, 5 here: the same weights"),
    ):  # fmt: skip
        caplog.clear()
        ours.load_state_dict(theirs.state_dict())
        assert there in caplog.text
    logger.removeHandler(caplog.handler)
