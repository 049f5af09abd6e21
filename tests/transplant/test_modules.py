"""Layers of a known class, in which one module computes something else."""

from __future__ import annotations

import copy
import functools

import pytest
import shapes
import torch
import torch.nn.functional as F
from shapes import FFN, GPT2, HEADS, WIDTH
from torch import nn

from lbbt_mm.transplant import TransplantError, make_plan
from lbbt_mm.transplant.compare import ACCEPTABLE
from lbbt_mm.transplant.mimetic import make_mimetic_plan
from lbbt_mm.transplant.modules import is_layer_norm, is_linear

gelu_tanh = functools.partial(F.gelu, approximate="tanh")


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return shapes.make(GPT2, tmp_path_factory.mktemp("models") / "gpt2")[1]


def torch_layer(**options) -> nn.Module:
    return nn.TransformerEncoderLayer(
        WIDTH, HEADS, FFN, activation=gelu_tanh, norm_first=True, **options
    )


def plan_of(layer: nn.Module, checkpoint, accept=(), **fields):
    fields = dict(module="0", blocks=0) | fields
    return make_plan(nn.Sequential(layer), checkpoint, [fields], accept)


def refusal(layer: nn.Module, checkpoint, **fields) -> str:
    with pytest.raises(TransplantError) as caught:
        plan_of(layer, checkpoint, list(ACCEPTABLE), **fields)
    return str(caught.value)


class Doubling(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Casting(nn.Linear):
    def forward(self, x):
        return super().forward(x.to(self.weight.dtype))


class FromOne(nn.LayerNorm):
    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight + 1, self.bias)


class Places(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Sharper(nn.MultiheadAttention):
    def forward(self, query, key, value, **options):
        return super().forward(5 * query, key, value, **options)


@pytest.mark.parametrize(
    ("place", "module", "words"),
    [
        (
            "linear1",
            Doubling(WIDTH, FFN),
            "linear1 of .* is a Doubling, which",
        ),
        ("norm1", FromOne(WIDTH), "norm1 of .* is a FromOne; the blocks"),
        ("self_attn", Sharper(WIDTH, HEADS), "self_attn of .* is a Sharper, of which"),
    ],
)
def test_a_module_that_computes_otherwise_is_refused(place, module, words, gpt2):
    layer = torch_layer()
    plan_of(layer, gpt2)  # as it is, it fits
    setattr(layer, place, module)
    with pytest.raises(TransplantError, match=words):
        plan_of(layer, gpt2, list(ACCEPTABLE))


def test_forward_put_on_one_layer_or_module(gpt2):
    layer = torch_layer()
    layer.forward = lambda x: x
    assert "computes something else" in refusal(layer, gpt2)
    layer = torch_layer()
    layer.linear2.forward = lambda x: x
    assert "linear2 of" in refusal(layer, gpt2)


def test_what_a_linear_layer_and_a_norm_are_by_their_values():
    from transformers.pytorch_utils import Conv1D

    assert is_linear(nn.Linear(3, 4)) and is_linear(Casting(3, 4, bias=False))
    assert is_linear(nn.Conv2d(3, 4, 1)) and not is_linear(nn.Conv2d(3, 4, 1, stride=2))
    assert not is_linear(nn.Conv2d(3, 4, 1, padding=1))
    assert not is_linear(Doubling(3, 4)) and not is_linear(Conv1D(4, 4))
    assert not is_linear(nn.Bilinear(3, 3, 4)) and not is_linear(nn.Embedding(3, 4))
    assert is_layer_norm(nn.LayerNorm(5)) and is_layer_norm(Places(5))
    assert not is_layer_norm(FromOne(5)) and not is_layer_norm(nn.GroupNorm(1, 5))
    assert not is_layer_norm(nn.LayerNorm((2, 5)))
    with torch.device("meta"):  # and neither needs numbers, nor changes them
        assert is_linear(Casting(3, 4)) and not is_linear(Doubling(3, 4))
        assert is_layer_norm(Places(5)) and not is_layer_norm(FromOne(5))
    layer = Casting(3, 4)
    before = copy.deepcopy(layer.state_dict())
    is_linear(layer)
    assert all(torch.equal(before[k], v) for k, v in layer.state_dict().items())


class Cross(nn.Module):
    """A user's layer, with linear layers of the user's choice."""

    def __init__(self, linear, scale=None, heads="num_heads") -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (linear(WIDTH, WIDTH) for _ in range(4))
        setattr(self, heads, HEADS)
        if scale is not None:
            self.scale = scale


MAPPING = dict(qkv=["q", "k", "v"], out="o")


def test_a_mapping_names_linear_layers(gpt2):
    from transformers.pytorch_utils import Conv1D

    fields = dict(mapping=MAPPING, parts=["self_attn"])
    assert len(plan_of(Cross(Casting), gpt2, **fields).rows) == 8
    assert "q of Cross is a Conv1D" in refusal(Cross(Conv1D), gpt2, **fields)


def test_a_scale_of_its_own_is_refused(gpt2):
    fields = dict(mapping=MAPPING, parts=["self_attn"])
    usual = (WIDTH // HEADS) ** -0.5
    model = nn.Module()
    for scale in (None, usual, 1 / usual):  # it may divide by it
        model.attn = Cross(nn.Linear, scale)
        make_plan(model, gpt2, [dict(fields, module="attn", blocks=0)])
    model.inner = nn.Module()
    model.inner.attn = Cross(nn.Linear, 2 * usual)
    mapping = dict(qkv=["attn.q", "attn.k", "attn.v"], out="attn.o")
    with pytest.raises(TransplantError, match="a number of its own, 0.7"):
        make_plan(
            model, gpt2, [dict(fields, module="inner", blocks=0, mapping=mapping)]
        )


@pytest.mark.parametrize("name", ["n_heads", "nhead", "heads", "num_attention_heads"])
def test_a_head_count_by_another_name_is_read(name, gpt2):
    layer = Cross(nn.Linear, heads=name)
    fields = dict(mapping=MAPPING, parts=["self_attn"])
    assert plan_of(layer, gpt2, **fields).rows
    fields["mapping"] = dict(MAPPING, num_heads=2 * HEADS)
    assert f"num_heads=8, but it has {HEADS}" in refusal(layer, gpt2, **fields)
    outer = nn.Module()
    outer.attn = layer
    mapping = dict(qkv=["attn.q", "attn.k", "attn.v"], out="attn.o", num_heads=8)
    said = refusal(outer, gpt2, parts=["self_attn"], mapping=mapping)
    assert f"num_heads=8, but attn has {HEADS}" in said


@pytest.mark.parametrize("name", ["pre_norm", "normalize_before", "norm_first"])
def test_a_mapping_does_not_contradict_where_the_norms_stand(name, gpt2):
    class Layer(Cross):
        def __init__(self) -> None:
            super().__init__(nn.Linear)
            self.n1, self.n2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            setattr(self, name, False)

    mapping = dict(norm_order="pre", attn_norm="n1", ffn_norm="n2")
    said = refusal(Layer(), gpt2, parts=["norms"], mapping=mapping)
    assert f"has {name}=False: let them agree" in said


@pytest.mark.parametrize("library", ["mmpretrain", "mmdet", "mmseg"])
def test_a_qk_scale_in_a_stock_layer(library, gpt2):
    import importlib

    if library == "mmpretrain":
        from mmpretrain.models.backbones.swin_transformer import SwinBlock

        options = dict(window_size=3, attn_cfgs=dict(qk_scale=1.0))
        layer = SwinBlock(WIDTH, HEADS, **options)
    else:
        swin = importlib.import_module(f"{library}.models.backbones.swin")
        layer = swin.SwinBlock(WIDTH, HEADS, FFN, window_size=3, qk_scale=1.0)
    assert "a number of its own, 1;" in refusal(layer, gpt2)


def test_mmpretrains_attention_with_a_qk_scale_and_a_shortcut(gpt2):
    from mmpretrain.models.backbones.vision_transformer import TransformerEncoderLayer
    from mmpretrain.models.utils import MultiheadAttention

    layer = TransformerEncoderLayer(WIDTH, HEADS, FFN)
    plan_of(layer, gpt2, ["activation"])
    # Whatever its value, it divides by 1 / sqrt(head width) then.
    layer.attn = MultiheadAttention(WIDTH, HEADS, qk_scale=8**-0.5)
    assert "Leave qk_scale out" in refusal(layer, gpt2)
    layer.attn = MultiheadAttention(WIDTH, HEADS, v_shortcut=True)
    assert "set v_shortcut=False" in refusal(layer, gpt2)


def test_cosine_attention_in_a_swin_block(gpt2):
    from mmpretrain.models.backbones.swin_transformer import SwinBlock
    from mmpretrain.models.utils import WindowMSAV2

    layer = SwinBlock(
        WIDTH, HEADS, window_size=4, attn_cfgs=dict(window_msa=WindowMSAV2)
    )
    assert "attn.w_msa of SwinBlock is a WindowMSAV2" in refusal(layer, gpt2)


def test_an_ffn_that_does_not_add_what_comes_in(gpt2):
    from mmdet.models.layers.transformer import DetrTransformerEncoderLayer as Detr
    from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer as BEiT

    attention = dict(embed_dims=WIDTH, num_heads=HEADS, batch_first=True)
    ffn = dict(embed_dims=WIDTH, feedforward_channels=FFN, add_identity=False)
    layer = Detr(self_attn_cfg=attention, ffn_cfg=ffn)
    assert "set add_identity=True" in refusal(layer, gpt2)
    assert plan_of(layer, gpt2, list(ACCEPTABLE), parts=["self_attn", "norms"]).rows
    # BEiT's layer adds it, and its FFN must not.
    layer = BEiT(WIDTH, HEADS, FFN, 1.0, window_size=(3, 3), use_rel_pos_bias=True)
    plan_of(layer, gpt2, list(ACCEPTABLE))
    layer.ffn.add_identity = True
    assert "set add_identity=False" in refusal(layer, gpt2)


# ----------------------------------------------------------- one layer by several names


def test_a_list_that_holds_a_layer_twice_is_refused(gpt2):
    first, second = torch_layer(), torch_layer()
    model = nn.Module()
    model.layers = nn.ModuleList([first, second, first])
    with pytest.raises(TransplantError, match="holds 3 layers that share .* of 2"):
        make_plan(model, gpt2, [dict(module="layers")])
    make_plan(model, gpt2, [dict(module="layers.0", blocks=1)])


def test_a_second_path_to_a_layer_fills_it(gpt2):
    model = nn.Module()
    model.first = nn.ModuleList([torch_layer()])
    model.second = model.first
    plan = make_plan(model, gpt2, [dict(module="second")])
    plan.apply(model)
    got = model.first[0].linear1.weight
    assert torch.equal(got, gpt2.block(0)["up.weight"])
    both = [dict(module="first"), dict(module="second")]
    with pytest.raises(TransplantError, match="it is the same as first.0.norm1.weight"):
        make_plan(model, gpt2, both)


def test_what_is_drawn_instead_knows_them_too():
    model = nn.Module()
    model.first = nn.ModuleList([torch_layer()])
    model.second = model.first
    before = model.first[0].self_attn.in_proj_weight.clone()
    make_mimetic_plan(model, [dict(module="second")]).apply(model)
    assert not torch.equal(model.first[0].self_attn.in_proj_weight, before)
    both = [dict(module="first"), dict(module="second")]
    with pytest.raises(TransplantError, match="in_proj_weight would be filled twice"):
        make_mimetic_plan(model, both)
    with pytest.raises(TransplantError, match="copies should be a list .* got None"):
        make_mimetic_plan(model, None)


def test_the_model_itself_may_be_the_list(gpt2):
    model = nn.Sequential(torch_layer(), torch_layer())
    plan = make_plan(model, gpt2, [dict(module="", blocks="::2")])
    assert {row.layer for row in plan.rows} == {"0", "1"}
    plan.apply(model)
    assert torch.equal(model[1].linear1.weight, gpt2.block(2)["up.weight"])


def test_numbers_that_would_not_hold_are_refused(gpt2):
    with torch.device("meta"):
        empty = nn.Sequential(torch_layer())
    plan = make_plan(empty, gpt2, [dict(module="0", blocks=0)])
    with pytest.raises(TransplantError, match="is on the meta device"):
        plan.apply(empty)
    layer = torch_layer()
    whole = torch.zeros(FFN, WIDTH, dtype=torch.int8)
    layer.linear1.weight = nn.Parameter(whole, requires_grad=False)
    assert "holds torch.int8" in refusal(layer, gpt2)


@pytest.mark.parametrize(
    ("accept", "fields", "words"),
    [
        (["widths"], {}, "list of some of norm_order, .* got \\['widths'\\]"),
        ([["width"]], {}, "list of some of norm_order"),
        (True, {}, "got True"),
        (dict(width=False), {}, "got {'width': False}"),
        ((), dict(cycle="False"), "cycle for 0 should be True or False, got 'False'"),
    ],
)
def test_words_that_are_none(accept, fields, words, gpt2):
    with pytest.raises(TransplantError, match=words):
        plan_of(torch_layer(), gpt2, accept, **fields)
