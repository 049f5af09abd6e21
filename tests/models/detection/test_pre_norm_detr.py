"""DETR in a language model's block order, and mmdet's own with fused attention."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
import transformers as hf
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from tiny_detr import (
    FFN,
    HEADS,
    ONE,
    OURS,
    UNEQUAL,
    WIDTH,
    attention,
    batch,
    build_detr,
    detr_config,
    ffn,
    head_outputs,
    scramble,
)
from torch import Tensor, nn
from torch.testing import assert_close
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.gpt2.modeling_gpt2 import GPT2Block

from lbbt_mm.language import LanguageModel, language_config
from lbbt_mm.models.detection.fused_detr import FusedDecoderLayer, FusedDETR
from lbbt_mm.models.detection.pre_norm_detr import (
    PreNormDecoderLayer,
    PreNormDETR,
    PreNormEncoder,
)

GPT2_PARTS = dict(
    act_cfg=dict(type="GELU", approximate="tanh"), norm_cfg=dict(type="LN", eps=1e-5)
)


def copy_all(pairs: dict[str, Tensor], target: nn.Module) -> None:
    """Fill every parameter of a module by name; a transpose has been done already."""
    target.load_state_dict(pairs, strict=True)


def gpt2_attention(conv: nn.Module, out: nn.Module, prefix: str) -> dict[str, Tensor]:
    return {
        f"{prefix}.attn.in_proj_weight": conv.weight.t(),
        f"{prefix}.attn.in_proj_bias": conv.bias,
        f"{prefix}.attn.out_proj.weight": out.weight.t(),
        f"{prefix}.attn.out_proj.bias": out.bias,
    }


def norm(module: nn.Module, name: str) -> dict[str, Tensor]:
    return {f"{name}.weight": module.weight, f"{name}.bias": module.bias}


def linear(module: nn.Module, name: str, transpose: bool) -> dict[str, Tensor]:
    weight = module.weight.t() if transpose else module.weight
    return {f"{name}.weight": weight, f"{name}.bias": module.bias}


def stacked(parts: list[nn.Module], names: tuple[str, str]) -> dict[str, Tensor]:
    return {
        names[0]: torch.cat([part.weight for part in parts]),
        names[1]: torch.cat([part.bias for part in parts]),
    }


def test_the_encoder_is_the_bidirectional_language_model() -> None:
    config = dataclasses.replace(
        language_config("gpt2"),
        num_layers=2,
        width=WIDTH,
        num_heads=HEADS,
        num_kv_heads=HEADS,
        head_dim=WIDTH // HEADS,
        ffn_width=FFN,
        init_std=0.2,
    )
    language = LanguageModel(
        config, attention="bidirectional", use_positions=False, drop_rate=0.0
    )
    scramble(language)
    encoder = build_detr("lbbt_mm.PreNormDETR", **GPT2_PARTS).encoder
    named = norm(language.final_norm, "post_norm")
    for index, block in enumerate(language.blocks):
        layer = {
            "self_attn.attn.in_proj_weight": block.qkv.weight,
            "self_attn.attn.in_proj_bias": block.qkv.bias,
            **linear(block.out, "self_attn.attn.out_proj", False),
            **norm(block.attn_norm, "norms.0"),
            **norm(block.ffn_norm, "norms.1"),
            **linear(block.up, "ffn.layers.0.0", False),
            **linear(block.down, "ffn.layers.1", False),
        }
        named |= {f"layers.{index}.{name}": tensor for name, tensor in layer.items()}
    copy_all(named, encoder)
    x = torch.randn(2, 12, WIDTH)
    found = encoder(x, torch.zeros_like(x), None)
    assert_close(found, language(x), rtol=1e-5, atol=1e-5)

    # Padding behaves as if the tokens were not there.
    padding = (torch.arange(12) >= 9).expand(2, -1)
    found = encoder(x, torch.zeros_like(x), padding)[:, :9]
    assert_close(found, language(x[:, :9]), rtol=1e-5, atol=1e-5)


def test_positions_reach_queries_and_keys_only() -> None:
    encoder = build_detr("lbbt_mm.PreNormDETR").encoder
    x, positions = torch.randn(2, 2, 12, WIDTH)
    layer = encoder.layers[0]
    normed = layer.norms[0](x)
    placed = normed + positions
    attended, _ = layer.self_attn.attn(
        *(part.transpose(0, 1) for part in (placed, placed, normed))
    )
    stream = x + attended.transpose(0, 1)
    expected = stream + layer.ffn.layers(layer.norms[1](stream))
    assert_close(layer(x, positions, None), expected)


def test_the_decoder_layer_is_gpt2_with_cross_attention() -> None:
    config = hf.GPT2Config(
        n_embd=WIDTH, n_head=HEADS, n_inner=FFN, add_cross_attention=True
    )
    config._attn_implementation = "eager"
    block = GPT2Block(config, layer_idx=0).eval()
    scramble(block)
    block.attn.bias.fill_(True)  # every token sees every other
    cross = block.crossattention
    layer = PreNormDecoderLayer(
        self_attn_cfg=attention(0.0),
        cross_attn_cfg=attention(0.0),
        ffn_cfg=ffn(0.0, GPT2_PARTS["act_cfg"]),
        norm_cfg=GPT2_PARTS["norm_cfg"],
    )
    cross_in = {
        "cross_attn.attn.in_proj_weight": torch.cat(
            [cross.q_attn.weight.t(), cross.c_attn.weight.t()]
        ),
        "cross_attn.attn.in_proj_bias": torch.cat(
            [cross.q_attn.bias, cross.c_attn.bias]
        ),
    }
    copy_all(
        {
            **norm(block.ln_1, "norms.0"),
            **gpt2_attention(block.attn.c_attn, block.attn.c_proj, "self_attn"),
            **norm(block.ln_cross_attn, "norms.1"),
            **cross_in,
            **linear(cross.c_proj, "cross_attn.attn.out_proj", True),
            **norm(block.ln_2, "norms.2"),
            **linear(block.mlp.c_fc, "ffn.layers.0.0", True),
            **linear(block.mlp.c_proj, "ffn.layers.1", True),
        },
        layer,
    )
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH)
    expected = block(x, encoder_hidden_states=memory)[0]
    assert_close(layer(x, key=memory, value=memory), expected, rtol=1e-5, atol=1e-5)


def test_the_post_norm_decoder_layer_is_bert_with_cross_attention() -> None:
    config = hf.BertConfig(
        hidden_size=WIDTH,
        num_attention_heads=HEADS,
        intermediate_size=FFN,
        is_decoder=True,
        add_cross_attention=True,
    )
    config._attn_implementation = "eager"
    block = BertLayer(config).eval()
    scramble(block)
    layer = FusedDecoderLayer(
        self_attn_cfg=attention(0.0),
        cross_attn_cfg=attention(0.0),
        ffn_cfg=ffn(0.0, dict(type="GELU")),
        norm_cfg=dict(type="LN", eps=1e-12),
    )
    named = {}
    for name, part in [
        ("self_attn", block.attention),
        ("cross_attn", block.crossattention),
    ]:
        projections = [part.self.query, part.self.key, part.self.value]
        names = (f"{name}.attn.in_proj_weight", f"{name}.attn.in_proj_bias")
        named |= stacked(projections, names)
        named |= linear(part.output.dense, f"{name}.attn.out_proj", False)
    copy_all(
        {
            **named,
            **norm(block.attention.output.LayerNorm, "norms.0"),
            **norm(block.crossattention.output.LayerNorm, "norms.1"),
            **norm(block.output.LayerNorm, "norms.2"),
            **linear(block.intermediate.dense, "ffn.layers.0.0", False),
            **linear(block.output.dense, "ffn.layers.1", False),
        },
        layer,
    )
    x, memory = torch.randn(2, 5, WIDTH), torch.randn(2, 7, WIDTH)
    expected = block(x, encoder_hidden_states=memory)[0]
    assert_close(layer(x, key=memory, value=memory), expected, rtol=1e-5, atol=1e-5)


def test_pre_norm_detr_has_one_more_norm() -> None:
    stock, ours = (build_detr(k) for k in ("mmdet.DETR", "lbbt_mm.PreNormDETR"))
    more = {"encoder.post_norm.weight", "encoder.post_norm.bias"}
    assert set(ours.state_dict()) == set(stock.state_dict()) | more
    assert isinstance(ours, PreNormDETR) and isinstance(ours, FusedDETR)
    layers = [*ours.encoder.layers, *ours.decoder.layers]
    assert all(layer.norm_first for layer in layers)


def test_every_norm_follows_the_config() -> None:
    model = build_detr("lbbt_mm.PreNormDETR", norm_cfg=dict(type="LN", eps=1e-3))
    norms = [m for m in model.encoder.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 5 and {m.eps for m in norms} == {1e-3}
    layer_cfg = dict(self_attn_cfg=attention(0.0), ffn_cfg=ffn(0.0, dict(type="ReLU")))
    encoder = PreNormEncoder(1, layer_cfg, post_norm_cfg=dict(type="LN", eps=0.5))
    assert encoder.post_norm.eps == 0.5
    assert encoder.layers[0].norms[0].eps == 1e-5


@pytest.mark.parametrize("sizes", [UNEQUAL, ONE], ids=["padded", "one"])
@pytest.mark.parametrize("kind", OURS)
def test_every_parameter_that_trains_receives_a_gradient(
    kind: str, sizes: tuple
) -> None:
    model = build_detr(kind, dropout=0.1).train()
    losses = model(**model.data_preprocessor(batch(*sizes), True), mode="loss")
    sum(v for k, v in losses.items() if "loss" in k).backward()
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert name.startswith("backbone."), name
            continue
        assert parameter.grad is not None, name
        # DETR's object queries start as zeros: the first norm has nothing to scale.
        idle = kind == OURS[1] and name == "decoder.layers.0.norms.0.weight"
        assert parameter.grad.any() or idle, name


@pytest.mark.parametrize("kind", OURS)
def test_images_do_not_depend_on_their_neighbours(kind: str) -> None:
    model = build_detr(kind).eval()
    both = head_outputs(model, batch((64, 96), (64, 96)))
    alone = head_outputs(model, batch((64, 96)))
    for together, single in zip(both, alone, strict=True):
        assert_close(together[:, :1], single, rtol=1e-4, atol=1e-5)


class Found(BaseMetric):
    """Counts predicted boxes."""

    def process(self, data_batch, data_samples) -> None:
        for sample in data_samples:
            boxes = sample["pred_instances"]["bboxes"]
            assert boxes.isfinite().all()
            self.results.append(len(boxes))

    def compute_metrics(self, results: list[int]) -> dict[str, int]:
        return dict(boxes=sum(results), images=len(results))


@pytest.mark.parametrize("kind", OURS)
def test_trains_and_predicts_under_a_runner(kind: str, tmp_path: Path) -> None:
    data = batch(*UNEQUAL, *ONE)
    images = [
        dict(inputs=inputs, data_samples=sample)
        for inputs, sample in zip(data["inputs"], data["data_samples"], strict=True)
    ]
    loader = dict(
        batch_size=2,
        num_workers=0,
        dataset=images,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=pseudo_collate,
    )
    runner = Runner(
        model=detr_config(kind, dropout=0.1),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        train_cfg=dict(by_epoch=True, max_epochs=1),
        val_cfg=dict(),
        val_evaluator=Evaluator(Found()),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=1e-3)),
        default_scope="mmdet",
        log_level="WARNING",
        experiment_name=f"{kind}-{tmp_path.name}",
    )
    before = None

    def remember() -> None:
        nonlocal before
        before = runner.model.encoder.layers[1].norms[0].weight.detach().clone()

    initialise = runner.model.init_weights
    runner.model.init_weights = lambda: (initialise(), remember())
    runner.train()
    # Batches of two unequal images and of one.
    assert runner.iter == 2
    assert before is not None and before.eq(1).all()
    assert not runner.model.encoder.layers[1].norms[0].weight.eq(1).all()
    assert runner.val() == dict(boxes=18, images=3)


def test_a_dumped_config_builds_again(tmp_path: Path) -> None:
    path = tmp_path / "config.py"
    Config(dict(model=detr_config("lbbt_mm.PreNormDETR"))).dump(path)
    init_default_scope("mmdet")
    model = MODELS.build(Config.fromfile(path).model)
    assert isinstance(model, PreNormDETR)
