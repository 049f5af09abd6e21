"""Reading configs, so that what is set in them has the effect it seems to have."""

from lbbt_mm.config.load import load_config
from lbbt_mm.config.names import ConfigError

__all__ = ["ConfigError", "load_config"]
