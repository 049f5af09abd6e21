"""A backbone that an engine has cast computes in its own dtype, near float32."""

from __future__ import annotations

import copy

import pytest
import torch

from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone

LLAMA = dict(
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=96,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    import transformers as hf

    models = {
        "gpt2": hf.GPT2Model(
            hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=9, vocab_size=96)
        ),
        "bert": hf.BertModel(hf.BertConfig(**LLAMA)),
        "llama": hf.LlamaModel(hf.LlamaConfig(**LLAMA)),
        "t5": hf.T5EncoderModel(
            hf.T5Config(
                d_model=32, d_kv=8, num_heads=4, d_ff=40, num_layers=2, vocab_size=96
            )
        ),
    }
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return {name: str(folder / name) for name in models}


def make(source: str, kind: type = LanguageBackbone, **options) -> LanguageBackbone:
    torch.manual_seed(1)
    given = dict(pretrained=False, img_size=16, patch_size=4, drop_rate=0.0) | options
    return kind(source, **given)


DTYPES = [torch.float16, torch.bfloat16, torch.float64]
OPTIONS = [
    dict(),
    dict(out_type="avg", position="learned"),
    dict(out_type="featmap", position="sincos2d", out_indices=[0, 1]),
    dict(out_type="raw", position="none", with_cp=True, drop_path_rate=0.0),
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: o.get("out_type", "last"))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["gpt2", "bert", "llama", "t5"])
@pytest.mark.parametrize("side", [16, 24])
def test_cast_is_near_float32(sources, name, dtype, options, side) -> None:
    backbone = make(sources[name], **options)
    cast = copy.deepcopy(backbone).to(dtype)
    images = torch.randn(2, 3, side, side)
    # float32 images, as a data preprocessor gives them, and cast ones.
    for given in (images, images.to(dtype)):
        for found, exact in zip(cast(given), backbone(images), strict=True):
            assert found.dtype == dtype
            error = (found.double() - exact.double()).norm() / exact.double().norm()
            assert error < (0.04 if dtype == torch.bfloat16 else 0.01)
    sum(out.float().pow(2).sum() for out in cast(images)).backward()
    gradients = [p.grad for p in cast.parameters() if p.grad is not None]
    assert gradients
    assert all(g.dtype == dtype and g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("scale", [1.0, "residual"])
def test_weights_are_read_into_a_cast_backbone(sources, dtype, scale) -> None:
    options = dict(pretrained=True, position="learned", token_scale=scale)
    plain, cast = (make(sources["gpt2"], **options) for _ in range(2))
    cast.to(dtype)
    for backbone in (plain, cast):
        torch.manual_seed(2)
        backbone.init_weights()
    for ours, exact in zip(
        cast.language.parameters(), plain.language.parameters(), strict=True
    ):
        assert torch.equal(ours, exact.to(dtype))
    assert cast(torch.randn(1, 3, 16, 16))[0].dtype == dtype


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_frozen_language_part_alone_may_be_cast(sources, name) -> None:
    backbone = make(sources[name], trainable_layers="none+patch_embed")
    exact = backbone(torch.ones(1, 3, 16, 16))[0]
    backbone.language.bfloat16()
    found = backbone(torch.ones(1, 3, 16, 16))[0]
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() / exact.norm() < 0.04
    found.float().sum().backward()
    assert backbone.patch_embed.projection.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_masked_backbone_too(sources, dtype) -> None:
    backbone = make(sources["gpt2"], MaskedLanguageBackbone, out_type="avg").to(dtype)
    tokens, *_ = backbone(torch.randn(2, 3, 16, 16))
    assert tokens.dtype == dtype
    tokens.float().sum().backward()


def test_autocast_keeps_the_stream_and_the_output_in_float32(sources) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        (tokens,) = make(sources["llama"], out_type="raw")(torch.randn(1, 3, 16, 16))
    assert tokens.dtype == torch.float32


# Around it -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_whole_classifier_may_be_cast(sources, dtype) -> None:
    from mmpretrain.models import ImageClassifier
    from mmpretrain.structures import DataSample

    def build() -> ImageClassifier:
        torch.manual_seed(0)
        return ImageClassifier(
            backbone=dict(
                type="lbbt_mm.LanguageBackbone",
                language_model=sources["gpt2"],
                pretrained=False,
                img_size=16,
                patch_size=4,
                drop_rate=0.0,
            ),
            neck=dict(type="lbbt_mm.StandardizeNeck", input_features=32),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=32),
            data_preprocessor=dict(type="ClsDataPreprocessor"),
        )

    images = torch.randn(4, 3, 16, 16)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2, 0)]
    exact, cast = build(), build().to(dtype)
    for model in (exact, cast):
        loss = model.loss(images, samples)["loss"]
        loss.backward()
    assert loss.dtype == dtype
    scores = [
        torch.stack([s.pred_score for s in m.eval().predict(images)]).double()
        for m in (exact, cast)
    ]
    torch.testing.assert_close(scores[1], scores[0], rtol=0.1, atol=0.05)


def test_a_cast_neck_keeps_statistics_beyond_float16() -> None:
    from lbbt_mm.models import StandardizeNeck

    neck = StandardizeNeck(2).half()
    images = torch.tensor([[3000.0, 1.0], [-3000.0, 3.0]], dtype=torch.float16)
    (out,) = neck.train()((images,))
    assert out.dtype == torch.float16 and neck.var.dtype == torch.float32
    torch.testing.assert_close(out.float(), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]))
    (back,) = neck.float()((images,))
    assert back.dtype == torch.float32
