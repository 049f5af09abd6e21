"""Modules that a config builds."""

from lbbt_mm.models.enlarge_on_device import EnlargeOnDevice
from lbbt_mm.models.language_backbone import LanguageBackbone

__all__ = ["EnlargeOnDevice", "LanguageBackbone"]
