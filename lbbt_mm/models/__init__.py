"""Modules that a config builds."""

from lbbt_mm.models.enlarge_on_device import EnlargeOnDevice
from lbbt_mm.models.language_backbone import LanguageBackbone
from lbbt_mm.models.standardize_neck import StandardizeNeck

__all__ = ["EnlargeOnDevice", "LanguageBackbone", "StandardizeNeck"]
