"""Modules that a config builds."""

from lbbt_mm.models.language_backbone import LanguageBackbone

__all__ = ["LanguageBackbone"]
