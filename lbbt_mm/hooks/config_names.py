"""Refuses a run whose config says one thing at the top and builds another."""

from __future__ import annotations

import os

from mmengine.hooks import Hook
from mmengine.runner import Runner

from lbbt_mm.config import ConfigError
from lbbt_mm.config.stale import find_stale
from lbbt_mm.registry import HOOKS


@HOOKS.register_module()
class ConfigNamesHook(Hook):
    """Ends a run in which a variable of the config was set without any effect.

    mmengine computes what a base file makes of ``lr`` or ``random_ratio`` while it
    reads that file. This package's tools read a config so that a later value counts
    (:func:`lbbt_mm.config.load_config`); other tools (``mim train``,
    ``Config.fromfile`` and a runner of one's own) train with the old value, and this
    hook stops them before they do, with the key to set.

    Example:
        >>> custom_hooks = [dict(type='lbbt_mm.ConfigNamesHook')]
    """

    def before_run(self, runner: Runner) -> None:
        """Compare the config with its files, where these are still there.

        Raises:
            ConfigError: A variable was set, and nothing follows.
        """
        path = getattr(runner.cfg, "filename", None)
        if not path or not os.path.isfile(path):
            return
        try:
            problem = find_stale(path, runner.cfg)
        except Exception:  # a file of another kind: no reason to end a run
            return
        if problem:
            raise ConfigError(problem)
