"""A checkpoint needs no language file beside it, wherever the backbone hides."""

from __future__ import annotations

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from lbbt_mm import models
from lbbt_mm.models.checkpoint_config import use_checkpoint_only


class LanguageBackbone:
    """A config in Python style holds the class itself."""


@pytest.mark.parametrize(
    "kind", ["lbbt_mm.LanguageBackbone", "LanguageBackbone", LanguageBackbone]
)
def test_every_language_backbone_is_built_without_its_file(kind):
    def backbone():
        return dict(type=kind, language_model="gpt2", pretrained=True)

    cfg = Config(
        dict(
            model=dict(
                type="Any",
                backbone=backbone(),
                parts=[dict(type="Wrapper", inner=(backbone(),))],
                other=dict(type="ResNet", pretrained=True),
            ),
        )
    )
    use_checkpoint_only(cfg, "bridge.pth")
    assert cfg.model.backbone.pretrained is False
    assert cfg.model.parts[0].inner[0].pretrained is False
    assert cfg.model.other.pretrained is True


def test_an_architecture_that_is_gone_comes_from_the_checkpoint(tmp_path):
    backbone = dict(type="LanguageBackbone", language_model=str(tmp_path / "gone"))
    cfg = Config(dict(model=dict(type="Any", backbone=backbone)))
    use_checkpoint_only(cfg, "bridge.pth")
    assert cfg.model.backbone.language_model == "bridge.pth"


def test_the_bridge_that_training_started_from_may_be_gone():
    bridge = dict(type="Pretrained", checkpoint="gone.pth", prefix="backbone.")
    drawn = dict(type="Normal", layer="Conv2d")
    backbone = dict(type="LanguageBackbone", language_model="gpt2", init_cfg=bridge)
    cfg = Config(
        dict(model=dict(a=backbone, b=dict(backbone, init_cfg=[bridge, drawn])))
    )
    use_checkpoint_only(cfg, "tuned.pth")
    assert cfg.model.a.init_cfg is None
    assert cfg.model.b.init_cfg == [drawn]


@pytest.mark.parametrize("trains", [True, False])
def test_a_frozen_eye_of_a_llava_keeps_its_own_source(trains: bool):
    """Its checkpoint does not hold it: noise would take its place without a word."""
    encoder = dict(
        type="lbbt_mm.LanguageBackbone", language_model="gpt2", pretrained=True
    )
    llava = dict(type="lbbt_mm.LLaVA", vision_encoder=encoder, train_encoder=trains)
    cfg = Config(dict(model=llava))
    use_checkpoint_only(cfg, "llava.pth")
    assert cfg.model.vision_encoder.pretrained is (not trains)


def test_a_users_subclass_is_built_from_the_checkpoint_too():
    class Mine(models.LanguageBackbone):
        pass

    MODELS.register_module(name="MineOfThisTest", module=Mine)
    backbone = dict(type="mmengine.MineOfThisTest", language_model="gpt2")
    cfg = Config(dict(model=dict(type="ImageClassifier", backbone=backbone)))
    try:
        use_checkpoint_only(cfg, "bridge.pth")
    finally:
        MODELS.module_dict.pop("MineOfThisTest")
    assert cfg.model.backbone.pretrained is False
