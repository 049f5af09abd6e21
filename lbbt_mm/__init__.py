"""Language Bias Bridge Training (arXiv 2604.01833) for the OpenMMLab libraries.

Nothing has to be imported by hand: a config that says ``type='lbbt_mm.X'`` makes
mmengine import :mod:`lbbt_mm.registry` and the room that defines ``X``.
"""

from lbbt_mm.version import __version__, require

require("mmengine", "lbbt_mm")

__all__ = ["__version__"]
