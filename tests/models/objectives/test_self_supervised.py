"""Self-supervised baselines on the language backbone have mmpretrain's own losses."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from mmengine.registry import init_default_scope
from torch.testing import assert_close

from lbbt_mm.models import LanguageBackbone, MaskedLanguageBackbone

SIZE = dict(img_size=16, patch_size=4, in_channels=1)  # 16 patches


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Write one tiny model of each kind of positions."""
    import transformers as hf

    sizes = dict(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        vocab_size=96,
    )
    models = {
        "gpt2": hf.GPT2Model(hf.GPT2Config(n_embd=32, n_layer=2, n_head=4)),
        "bert": hf.BertModel(hf.BertConfig(**sizes)),
        "llama": hf.LlamaModel(hf.LlamaConfig(**sizes)),
    }
    folder = tmp_path_factory.mktemp("models")
    for name, model in models.items():
        model.save_pretrained(folder / name)
    return {name: str(folder / name) for name in models}


def make(source: str, **options) -> MaskedLanguageBackbone:
    torch.manual_seed(1)
    given = {**SIZE, "out_type": "avg", "drop_rate": 0.0, **options}
    backbone = MaskedLanguageBackbone(source, **given)
    backbone.init_weights()
    return backbone


def mae(source: str):
    init_default_scope("mmpretrain")
    from mmpretrain.registry import MODELS

    torch.manual_seed(1)
    model = MODELS.build(
        dict(
            type="MAE",
            data_preprocessor=dict(type="SelfSupDataPreprocessor"),
            backbone=dict(
                type="lbbt_mm.MaskedLanguageBackbone",
                language_model=source,
                drop_rate=0.0,
                **SIZE,
            ),
            neck=dict(
                type="MAEPretrainDecoder",
                num_patches=16,
                patch_size=4,
                in_chans=1,
                embed_dim=32,
                decoder_embed_dim=16,
                decoder_depth=1,
                decoder_num_heads=2,
            ),
            head=dict(
                type="MAEPretrainHead",
                norm_pix=True,
                patch_size=4,
                in_channels=1,
                loss=dict(type="PixelReconstructionLoss", criterion="L2"),
            ),
        )
    )
    model.init_weights()
    return model.train()


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_visible_tokens_keep_their_places(sources: dict, family: str) -> None:
    """With everything visible but one patch, places are those of the whole image."""
    backbone = make(sources[family], mask_ratio=1 / 16).train()
    images = torch.randn(3, 1, 16, 16)
    latent, mask_BT, places_BT = backbone(images)
    assert latent.shape == (3, 16, 32) and mask_BT.sum(1).tolist() == [1.0] * 3
    assert_close(latent[:, 0], latent[:, 1:].mean(1))
    for image, mask_T, places_T, found in zip(
        images, mask_BT, places_BT, latent, strict=True
    ):
        tokens = backbone.language.embed(backbone.patch_embed(image[None])[0])
        kept = (mask_T == 0).nonzero().squeeze(1)
        for block in backbone.language.blocks:
            tokens = block(tokens[:, kept] if tokens.shape[1] == 16 else tokens,
                           backbone.language.causal)  # fmt: skip
        assert_close(found[1:], backbone.language.finish(tokens)[0])
        # What the decoder does with the numbers: visible ones first, in order.
        assert places_T[kept].tolist() == list(range(15))
        assert places_T[mask_T == 1].tolist() == [15]


def test_masks_are_random_and_of_the_asked_size(sources: dict) -> None:
    backbone = make(sources["bert"]).train()
    images = torch.randn(64, 1, 16, 16)
    latent, mask_BT, places_BT = backbone(images)
    assert latent.shape == (64, 5, 32) and (mask_BT.sum(1) == 12).all()
    assert_close(places_BT.sort(1).values, torch.arange(16).expand(64, 16))
    assert len({tuple(mask.tolist()) for mask in mask_BT}) > 32
    assert ((mask_BT == 1) == (places_BT >= 4)).all()


def test_it_is_a_language_backbone_when_it_does_not_train(sources: dict) -> None:
    masked = make(sources["bert"]).eval()
    plain = LanguageBackbone(sources["bert"], out_type="avg", drop_rate=0.0, **SIZE)
    plain.load_state_dict(masked.state_dict())
    images = torch.randn(2, 1, 16, 16)
    expected = plain.eval()(images)
    assert_close(masked(images), expected)
    assert_close(masked.train()(images, mask=None), expected)


def test_the_loss_is_that_of_masked_pixels(sources: dict) -> None:
    """Patches, their normalisation and the mean over masked ones, by hand."""
    model = mae(sources["bert"])
    images = torch.randn(4, 1, 16, 16)
    torch.manual_seed(3)
    loss = model.loss(images, [])["loss"]
    torch.manual_seed(3)
    latent, mask_BT, places_BT = model.backbone(images)
    predicted_BTD = model.neck(latent, places_BT)
    wanted_BTD = F.unfold(images, 4, stride=4).transpose(1, 2)
    mean, var = wanted_BTD.mean(-1, True), wanted_BTD.var(-1, keepdim=True)
    wanted_BTD = (wanted_BTD - mean) / (var + 1e-6).sqrt()
    error_BT = (predicted_BTD - wanted_BTD).square().mean(-1)
    assert_close(loss, (error_BT * mask_BT).sum() / mask_BT.sum())
    loss.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


def test_simclr_is_mmpretrains_on_our_features(sources: dict) -> None:
    init_default_scope("mmpretrain")
    from mmpretrain.registry import MODELS

    neck = dict(
        type="NonLinearNeck",
        in_channels=32,
        hid_channels=16,
        out_channels=8,
        num_layers=2,
        with_avg_pool=False,
        norm_cfg=dict(type="BN1d"),
    )
    head = dict(
        type="ContrastiveHead", loss=dict(type="CrossEntropyLoss"), temperature=0.1
    )
    backbone = dict(
        type="lbbt_mm.LanguageBackbone",
        language_model=sources["bert"],
        out_type="avg",
        drop_rate=0.0,
        **SIZE,
    )
    model = MODELS.build(
        dict(
            type="SimCLR",
            data_preprocessor=dict(type="SelfSupDataPreprocessor"),
            backbone=backbone,
            neck=neck,
            head=head,
        )
    )
    model.init_weights()
    views = [torch.randn(5, 1, 16, 16) for _ in range(2)]
    loss = model.loss(views, [])["loss"]
    # NT-Xent (arXiv 2002.05709, equation 1), written down.
    order = torch.stack(views, 1).flatten(0, 1)  # a0 b0 a1 b1 ...
    with torch.no_grad():
        z = F.normalize(model.neck(model.backbone(order))[0], dim=1)
        scores = z @ z.t() / 0.1
        scores.fill_diagonal_(float("-inf"))
        partner = torch.arange(10) ^ 1
        expected = F.cross_entropy(scores, partner)
    assert_close(loss.detach(), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_masked_is_refused(sources: dict) -> None:
    with pytest.raises(ValueError, match="position='sincos2d'"):
        make(sources["llama"])
    make(sources["llama"], position="sincos2d")
    for ratio in (0.0, 1.0, 0.99, -1.0):
        with pytest.raises(ValueError, match="mask_ratio"):
            make(sources["bert"], mask_ratio=ratio)
    with pytest.raises(ValueError, match="img_size"):
        make(sources["bert"]).train()(torch.randn(1, 1, 20, 20))


def test_a_probe_sees_all_patches_of_either(sources: dict, tmp_path: Path) -> None:
    from mmengine.config import Config

    from lbbt_mm.probe.setup import build_frozen_model

    model = mae(sources["bert"])
    path = tmp_path / "mae.pth"
    torch.save(dict(state_dict=model.state_dict()), path)
    cfg = Config(
        dict(
            default_scope="mmpretrain",
            data_preprocessor=dict(num_classes=3),
            model=dict(
                type="MAE",
                data_preprocessor=dict(type="SelfSupDataPreprocessor"),
                backbone=dict(
                    type="lbbt_mm.MaskedLanguageBackbone",
                    language_model=sources["bert"],
                    out_type="avg",
                    **SIZE,
                ),
                neck=dict(type="MAEPretrainDecoder"),
                head=dict(type="MAEPretrainHead"),
            ),
        )
    )
    before = copy.deepcopy(cfg.to_dict())
    frozen = build_frozen_model(cfg, str(path)).eval()
    images = torch.randn(2, 1, 16, 16)
    (found,) = frozen.extract_feat(images, stage="backbone")
    model.eval().backbone.out_type = "avg"
    assert_close(found, model.backbone(images)[0])
    assert cfg.to_dict() == before
