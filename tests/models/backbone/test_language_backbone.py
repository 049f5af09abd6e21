"""LanguageBackbone: structure, initialisation, forward; every option has its effect."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError, LanguageModel, open_checkpoint
from lbbt_mm.language.residual import residual_rms, scratch_word_embeddings
from lbbt_mm.models import LanguageBackbone
from lbbt_mm.models.backbone.patch_tokens import PatchTokens, sincos2d
from lbbt_mm.registry import MODELS

SMALL = dict(img_size=32, patch_size=8)  # 16 tokens


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Write one tiny model of each kind."""
    import transformers as hf

    sizes = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        vocab_size=96,
        max_position_embeddings=64,
    )
    models = {
        "gpt2": hf.GPT2Model(
            hf.GPT2Config(n_embd=32, n_layer=3, n_head=4, n_positions=20, vocab_size=96)
        ),
        "bert": hf.BertModel(hf.BertConfig(**sizes)),
        "llama": hf.LlamaModel(hf.LlamaConfig(**sizes, num_key_value_heads=2)),
    }
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return {name: str(folder / name) for name in models}


def make(source: str, pretrained: bool = False, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    backbone = LanguageBackbone(source, pretrained=pretrained, **{**SMALL, **options})
    if pretrained:
        backbone.init_weights()
    return backbone


def twin(backbone: LanguageBackbone, source: str, **options) -> LanguageBackbone:
    """Build another backbone with the same weights, in eval mode."""
    other = make(source, **options)
    other.load_state_dict(backbone.state_dict())
    return other.eval()


# Structure -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (dict(attention="both"), "attention must be one of"),
        (dict(position="rotary"), "position must be one of"),
        (dict(out_type="cls_token"), "out_type must be one of"),
        (dict(out_indices=3), "out_indices must name blocks from -3 to 2"),
        (dict(out_indices=[]), "out_indices must name blocks"),
        (dict(num_layers=4), "from 1 to 3"),
        (dict(num_layers=0), "from 1 to 3"),
        (dict(prefix_tokens=2), "prefix_tokens must be one of 'language', 'new'"),
        (dict(token_scale=0), "token_scale must be a positive number"),
        (dict(token_scale="auto"), "token_scale must be a positive number"),
        (dict(token_scale="moments"), "patch_moments=FILE belong together"),
        (dict(patch_moments="a.pth"), "patch_moments=FILE belong together"),
        (dict(first_block=1), "first_block=1 needs num_layers"),
        (dict(first_block=-1, num_layers=1), "must be a block number from 0"),
        (dict(first_block=True, num_layers=1), "must be a block number from 0"),
        (dict(drop_rate=1.0), "drop_rate must be at least 0"),
        (dict(drop_path_rate=-0.1), "drop_path_rate must be at least 0"),
        (dict(trainable_layers="first:4"), "'first:4' does not fit 3 blocks"),
        (dict(trainable_layers=[0, 3]), "3 does not fit 3 blocks"),
        (dict(trainable_layers="heads"), "'heads' does not fit"),
    ],
)
def test_bad_options(sources, option: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(sources["llama"], **option)


def test_builds_from_a_config_of_any_scope(sources) -> None:
    config = dict(type="lbbt_mm.LanguageBackbone", language_model=sources["gpt2"])
    assert isinstance(MODELS.build(config), LanguageBackbone)


@pytest.mark.parametrize(
    "name", ["gpt2-medium", "meta-llama/Llama-3.2-1B", "Qwen/Qwen3-14B"]
)
@pytest.mark.parametrize("position", ["language", "sincos2d", "learned"])
def test_big_models_build_on_the_meta_device(name: str, position: str) -> None:
    with torch.device("meta"):
        backbone = LanguageBackbone(name, position=position)
    assert all(p.is_meta for p in backbone.parameters())


EFFECTS = {
    "language_model": dict(language_model="bert"),
    "pretrained": dict(pretrained=False),
    "num_layers": dict(num_layers=2),
    "img_size": dict(position="learned", img_size=64),
    "patch_size": dict(patch_size=16),
    "in_channels": dict(in_channels=1),
    "attention": dict(attention="bidirectional"),
    "position": dict(position="none"),
    "out_type": dict(out_type="avg"),
    "out_indices": dict(out_indices=0),
    "token_scale": dict(token_scale=5.0),
    "trainable_layers": dict(trainable_layers="first:1"),
    "drop_rate": dict(drop_rate=0.5),
    "drop_path_rate": dict(drop_path_rate=0.9),
    "with_cp": dict(with_cp=True),
    "initial_distribution": dict(pretrained=False, initial_distribution="mimetic"),
    "prefix_tokens": dict(prefix_tokens="new"),
    "first_block": dict(num_layers=2, first_block=1),
    "window_size": dict(window_size=2, global_blocks=1),
    "init_cfg": dict(init_cfg=dict(type="Constant", layer="Conv2d", val=0.01)),
}
# Tested in test_backbone_options.py, test_trainable.py, test_patch_moments.py and
# test_bridge_source.py.
ELSEWHERE = {"long_positions", "unknown", "frozen_dtype", "patch_moments", "lora"}
ELSEWHERE |= {"frozen_dropout", "new_patch_embed", "global_blocks"}


def test_there_is_a_case_for_every_option() -> None:
    import inspect

    options = inspect.signature(LanguageBackbone).parameters
    assert set(EFFECTS) == set(options) - ELSEWHERE


@pytest.mark.parametrize("option", EFFECTS)
def test_every_option_has_an_effect(sources, option: str, monkeypatch) -> None:
    recomputed = []
    monkeypatch.setattr(
        "lbbt_mm.models.backbone.run_block.recompute",
        lambda block, *args, **kwargs: recomputed.append(block) or block(*args),
    )

    def observe(**options) -> tuple:
        """Everything that an option could change, in training mode."""
        source = sources[options.pop("language_model", "llama")]
        torch.manual_seed(3)
        backbone = LanguageBackbone(source, **{**SMALL, **options})
        backbone.init_weights()
        channels = options.get("in_channels", 3)
        torch.manual_seed(4)
        (features,) = backbone(torch.randn(2, channels, 32, 32))
        recomputed_now = len(recomputed)
        recomputed.clear()
        shapes = [tuple(p.shape) for p in backbone.parameters()]
        flags = [p.requires_grad for p in backbone.parameters()]
        return features.tolist(), shapes, flags, recomputed_now

    base = {
        "img_size": dict(position="learned"),
        "initial_distribution": dict(pretrained=False),
        "first_block": dict(num_layers=2),
    }.get(option, {})
    assert observe(**base) == observe(**base)
    assert observe(**base) != observe(**EFFECTS[option])


# Initialisation --------------------------------------------------------------------


def test_pretrained_blocks_are_the_language_models(sources) -> None:
    for source in sources.values():
        backbone = make(source, pretrained=True, num_layers=2)
        checkpoint = open_checkpoint(source)
        for index in range(2):
            weights = checkpoint.block(index)
            for name, value in backbone.language.blocks[index].named_parameters():
                assert_close(value.detach(), weights[name], rtol=0, atol=0)
        assert backbone.language.origin["source"] == source


def test_scratch_is_the_familys_own_initialisation(sources) -> None:
    model = make("gpt2", num_layers=3).language
    assert float(model.blocks[0].qkv.weight.std()) == pytest.approx(0.02, rel=0.02)
    assert float(model.blocks[0].out.weight.std()) == pytest.approx(
        0.02 / math.sqrt(6), rel=0.02
    )
    assert model.blocks[2].up.bias.abs().max() == 0
    assert_close(model.final_norm.weight.detach(), torch.ones(768))


def test_forward_before_the_weights_are_there_is_an_error(sources) -> None:
    backbone = LanguageBackbone(sources["gpt2"], **SMALL)
    with pytest.raises(CheckpointError, match="call init_weights"):
        backbone(torch.randn(1, 3, 32, 32))
    backbone.load_state_dict(make(sources["gpt2"]).state_dict())
    backbone(torch.randn(1, 3, 32, 32))


def test_patch_embedding_is_xavier_on_the_flattened_kernel(sources) -> None:
    weight = make("gpt2", num_layers=1).patch_embed.projection.weight
    bound = math.sqrt(6 / (3 * 8 * 8 + 768))
    assert weight.abs().max() <= bound
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_unit_rms_is_what_tokens_have() -> None:
    embed = PatchTokens(768, (224, 224), 16, 3, "none")
    tokens, _ = embed(torch.randn(4, 3, 224, 224))
    assert float(tokens.pow(2).mean().sqrt()) == pytest.approx(
        embed.unit_rms(), rel=0.02
    )


def test_token_scale_scales_tokens_and_new_positions(sources) -> None:
    images = torch.randn(2, 3, 32, 32)
    for position in ("none", "sincos2d", "learned"):
        options = dict(position=position, pretrained=True)
        small = make(sources["llama"], token_scale=1.0, **options).patch_embed(images)
        torch.manual_seed(1)
        large = make(sources["llama"], token_scale=3.0, **options).patch_embed(images)
        assert_close(large[0], small[0] * 3, rtol=1e-4, atol=1e-5)


def test_residual_scale_meets_the_stream(sources) -> None:
    for pretrained in (True, False):
        backbone = make(sources["llama"], pretrained=pretrained, token_scale="residual")
        backbone.init_weights()
        words = scratch_word_embeddings(backbone.language.config)
        if pretrained:
            words = open_checkpoint(sources["llama"]).embedding_rows(0, 96)
        wanted = residual_rms(backbone.language, words)
        tokens, _ = backbone.patch_embed(torch.randn(64, 3, 32, 32))
        assert float(tokens.pow(2).mean().sqrt()) == pytest.approx(wanted, rel=0.1)


def test_residual_rms_ignores_a_few_enormous_channels(sources) -> None:
    model = make(sources["llama"]).language
    words = scratch_word_embeddings(model.config)
    before = residual_rms(model, words)
    words[:, 3] = 1e4
    assert residual_rms(model, words) < 3 * before
    assert model.training


def test_pretrained_init_cfg_needs_no_language_file(sources, tmp_path: Path) -> None:
    bridged = make(sources["gpt2"], pretrained=True)
    path = str(tmp_path / "bridge.pth")
    state = {f"backbone.{k}": v for k, v in bridged.state_dict().items()}
    torch.save({"state_dict": state}, path)
    init_cfg = dict(type="Pretrained", checkpoint=path, prefix="backbone.")
    again = LanguageBackbone(path, init_cfg=init_cfg, **SMALL)
    again.init_weights()
    images = torch.randn(1, 3, 32, 32)
    assert_close(again.eval()(images), bridged.eval()(images))
    assert again.language.origin == bridged.language.origin


def test_a_checkpoint_of_another_head_count_is_refused(sources, tmp_path) -> None:
    import transformers as hf

    config = hf.GPT2Config(n_embd=32, n_layer=3, n_head=8, n_positions=20, vocab_size=9)
    hf.GPT2Model(config).save_pretrained(tmp_path / "other")
    state = make(str(tmp_path / "other")).state_dict()
    with pytest.raises(Exception, match="num_heads: 4 != 8"):
        make(sources["gpt2"]).load_state_dict(state)
    torch.save({"state_dict": state}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="num_heads: 4 != 8"):
        load_checkpoint(make(sources["gpt2"]), str(tmp_path / "x.pth"))


# Forward ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
@pytest.mark.parametrize("position", ["language", "sincos2d", "learned", "none"])
@pytest.mark.parametrize("size", [(32, 32), (33, 47), (8, 8), (64, 64)])
def test_any_image_size_in_every_shape(sources, name, position, size) -> None:
    rows, columns = math.ceil(size[0] / 8), math.ceil(size[1] / 8)
    shapes = dict(
        last=(2, 32),
        avg=(2, 32),
        raw=(2, rows * columns, 32),
        featmap=(2, 32, rows, columns),
    )
    images = torch.randn(2, 3, *size)
    for out_type, shape in shapes.items():
        backbone = make(sources[name], position=position, out_type=out_type)
        (features,) = backbone(images)
        assert features.shape == shape
        assert features.isfinite().all()


def test_padding_is_zeros_at_the_right_and_the_bottom(sources) -> None:
    backbone = make(sources["llama"], out_type="raw").eval()
    images = torch.randn(1, 3, 27, 30)
    padded = torch.zeros(1, 3, 32, 32)
    padded[..., :27, :30] = images
    assert_close(backbone(images), backbone(padded))


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_last_token_shortcut_changes_nothing(sources, name, attention) -> None:
    backbone = make(sources[name], attention=attention).eval()
    whole = twin(backbone, sources[name], attention=attention, out_type="raw")
    images = torch.randn(2, 3, 32, 32)
    (last,), (tokens,) = backbone(images), whole(images)
    assert_close(last, tokens[:, -1], rtol=1e-4, atol=1e-6)


def test_last_token_shortcut_leaves_work_out(sources) -> None:
    seen = []
    for options in (dict(), dict(out_type="raw"), dict(out_indices=[0, -1])):
        backbone = make(sources["llama"], **options)
        down = backbone.language.blocks[-1].down
        down.register_forward_hook(lambda m, args, out: seen.append(args[0].shape[1]))
        backbone(torch.randn(1, 3, 32, 32))
    assert seen == [1, 16, 16]


def test_shapes_hold_the_same_numbers(sources) -> None:
    raw = make(sources["llama"], out_type="raw").eval()
    images = torch.randn(2, 3, 24, 40)
    (tokens,) = raw(images)
    (average,) = twin(raw, sources["llama"], out_type="avg")(images)
    (maps,) = twin(raw, sources["llama"], out_type="featmap")(images)
    assert_close(average, tokens.mean(1))
    assert_close(maps[:, :, 1, 2], tokens[:, 1 * 5 + 2])


def test_backbone_is_the_language_stack_behind_patches(sources) -> None:
    for source in sources.values():
        backbone = make(source, pretrained=True, out_type="raw").eval()
        stack = LanguageModel(open_checkpoint(source).config, initialise=False)
        stack.load(open_checkpoint(source))
        tokens, _ = backbone.patch_embed(torch.randn(1, 3, 32, 32))
        torch.manual_seed(0)
        images = torch.randn(1, 3, 32, 32)
        tokens, _ = backbone.patch_embed(images)
        assert_close(backbone(images)[0], stack.eval()(tokens), rtol=1e-4, atol=1e-6)


def test_out_indices(sources) -> None:
    backbone = make(sources["llama"], out_type="raw", out_indices=[0, -1]).eval()
    first, last = backbone(torch.randn(1, 3, 32, 32))
    assert not torch.allclose(first, last)
    shallow = twin(backbone, sources["llama"], out_type="raw", out_indices=0)
    torch.manual_seed(5)
    images = torch.randn(1, 3, 32, 32)
    assert_close(shallow(images)[0], backbone(images)[0])


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_attention_decides_who_sees_the_last_patch(sources, attention) -> None:
    backbone = make(sources["llama"], attention=attention, out_type="raw").eval()
    images = torch.randn(1, 3, 32, 32)
    changed = images.clone()
    changed[..., 24:, 24:] += 1
    first, other = backbone(images)[0][:, 0], backbone(changed)[0][:, 0]
    assert torch.equal(first, other) == (attention == "causal")


def test_attention_defaults_to_the_familys_own(sources) -> None:
    assert make(sources["gpt2"]).language.causal
    assert make(sources["llama"]).language.causal
    assert not make(sources["bert"]).language.causal


@pytest.mark.parametrize("position", ["language", "sincos2d", "learned", "none"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_only_position_none_is_blind_to_order(sources, name, position) -> None:
    backbone = make(
        sources[name], position=position, attention="bidirectional", out_type="avg"
    ).eval()
    images = torch.randn(1, 3, 8, 32)  # four patches in a row
    moved = images.roll(8, dims=-1)
    blind = torch.allclose(backbone(images)[0], backbone(moved)[0], atol=1e-5)
    assert blind == (position == "none")


def test_sincos_positions_tell_rows_from_columns() -> None:
    table = sincos2d(3, 5, 16)
    assert_close(table[0, :, 8:], table[0, :1, 8:].expand(5, -1))
    assert_close(table[:, 0, :8], table[:1, 0, :8].expand(3, -1))
    assert len(torch.unique(table.flatten(0, 1), dim=0)) == 15


def test_drop_rate_and_drop_path_act_in_training_only(sources) -> None:
    images = torch.randn(4, 3, 32, 32)
    for options in (dict(drop_rate=0.3), dict(drop_rate=0.0, drop_path_rate=0.5)):
        backbone = make(sources["llama"], **options)
        assert not torch.equal(backbone(images)[0], backbone(images)[0])
        backbone.eval()
        assert_close(backbone(images)[0], backbone(images)[0], rtol=0, atol=0)


def test_families_dropout_is_kept_unless_replaced(sources) -> None:
    images = torch.randn(4, 3, 32, 32)
    kept, replaced = make(sources["gpt2"]), make(sources["gpt2"], drop_rate=0.0)
    assert not torch.equal(kept(images)[0], kept(images)[0])
    assert torch.equal(replaced(images)[0], replaced(images)[0])


def test_drop_path_leaves_out_whole_blocks_and_keeps_the_mean(sources) -> None:
    backbone = make(
        sources["llama"],
        drop_path_rate=0.5,
        num_layers=2,
        out_type="raw",
        drop_rate=0.0,
    )
    block = backbone.language.blocks[1]
    x = torch.randn(1, 4, 32)
    delta = block(x, True) - x
    outs = [backbone.run_block(block, 1, x, None, False) - x for _ in range(64)]
    dropped = [out.abs().max() == 0 for out in outs]
    assert 10 < sum(dropped) < 54
    for out, gone in zip(outs, dropped, strict=True):
        if not gone:
            assert_close(out, delta * 2, rtol=1e-3, atol=1e-5)


def test_with_cp_gives_the_same_gradients(sources) -> None:
    plain = make(sources["llama"])
    saving = make(sources["llama"], with_cp=True)
    images = torch.randn(2, 3, 32, 32)
    for backbone in (plain, saving):
        backbone(images)[0].pow(2).sum().backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert_close(a.grad, b.grad)


def test_compiles(sources) -> None:
    for options in (dict(), dict(trainable_layers="none+last:1", drop_path_rate=0.2)):
        backbone = make(sources["llama"], **options)
        compiled = torch.compile(backbone, backend="aot_eager")
        images = torch.randn(2, 3, 32, 32)
        compiled(images)[0].sum().backward()
        backbone.eval()
        assert_close(compiled(images)[0], backbone(images)[0])


def test_autocast_keeps_the_stream_in_float32(sources) -> None:
    backbone = make(sources["llama"], out_type="raw")
    with torch.autocast("cpu", torch.bfloat16):
        (tokens,) = backbone(torch.randn(1, 3, 32, 32))
    assert tokens.dtype == torch.float32


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_linear_layers_read_rows_that_lie_together(sources, name) -> None:
    """Else torch copies a frozen weight for every image: many times slower."""
    backbone, layers = make(sources[name], trainable_layers="none"), []
    for module in backbone.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(
                lambda layer, inputs: layers.append(
                    inputs[0].view(-1, layer.in_features)
                )
            )
    with torch.autocast("cpu", torch.bfloat16):
        backbone(torch.randn(2, 3, 32, 32))
    assert len(layers) >= 3 * 4


def test_layer_depth_grows_with_the_blocks(sources) -> None:
    backbone = make(sources["llama"])
    depths = {
        name: backbone.get_layer_depth(f"backbone.{name}", "backbone.")
        for name, _ in backbone.named_parameters()
    }
    assert depths["patch_embed.projection.weight"] == (0, 5)
    assert depths["language.blocks.2.qkv.weight"] == (3, 5)
    assert depths["language.final_norm.weight"] == (4, 5)
