"""Old module paths work and name the new ones."""

from __future__ import annotations

import importlib
import sys

import pytest

from lbbt_mm.moved import MOVED


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_is_the_module_where_it_is_now(old: str) -> None:
    sys.modules.pop(old, None)
    with pytest.warns(DeprecationWarning, match=f"{old} is {MOVED[old]} now"):
        module = importlib.import_module(old)
    assert module is importlib.import_module(MOVED[old])


def test_an_old_attribute_works_and_names_the_new_one() -> None:
    from lbbt_mm import LanguageBackbone

    backbone = LanguageBackbone("gpt2", pretrained=False, num_layers=1)
    with pytest.warns(DeprecationWarning, match="language_model is language_source"):
        assert backbone.language_model == backbone.language_source == "gpt2"


def test_classes_come_by_their_old_paths() -> None:
    from lbbt_mm.metrics import RetrievalMetric

    sys.modules.pop("lbbt_mm.models.language_backbone", None)
    with pytest.warns(DeprecationWarning) as said:
        from lbbt_mm.evaluation import RetrievalMetric as Old
        from lbbt_mm.models.language_backbone import LanguageBackbone

        from lbbt_mm.models.objectives import LabelObjective  # noqa: F401

    assert Old is RetrievalMetric
    assert LanguageBackbone.__module__ == "lbbt_mm.models.backbone.language_backbone"
    assert said[-1].filename == __file__
