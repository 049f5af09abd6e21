"""Every variable of a shipped config does something, or is refused with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from shipped import CONFIGS, SCENES

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.config.chain import read_chain
from lbbt_mm.config.load import is_variable, read_handed_down
from lbbt_mm.config.names import effective

KINDS = {  # one config of each kind
    path.parent: path
    for folder in (CONFIGS, SCENES)
    for path in sorted(folder.glob("*/*.py"))
    if path.parent.name not in ("_base_", "sweeps")
}
MORE = [
    CONFIGS / "detr_gpt2init.py",
    CONFIGS / "bridge/gpt2-medium_language_random100_400e_cifar100.py",
]


def another(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return 2 * value + 1
    if isinstance(value, str):
        if value == "gqa":  # one of four
            return "scienceqa"
        return "2:4" if ":" in value else value + "-other"
    if isinstance(value, (list, tuple)) and value:
        return type(value)(another(part) for part in value)
    return "other"


def plain(value) -> bool:
    if isinstance(value, (list, tuple)):
        return all(plain(part) for part in value)
    return not isinstance(value, dict)


@pytest.mark.parametrize("config", [*KINDS.values(), *MORE], ids=lambda p: p.stem)
def test_every_variable_works_or_is_refused(config: Path) -> None:
    cfg = read_handed_down(config)[0]
    before = effective(cfg)
    names = [n for n in cfg if is_variable(n, cfg) and plain(cfg[n])]
    assert len(names) >= 4
    for name in names:
        value = another(cfg[name])
        changed, _ = read_chain(config, {name: value})
        if effective(changed) != before:
            assert changed[name] == value
            continue
        with pytest.raises(ConfigError, match=f"sets {name}, but .*: set "):
            load_config(config, {name: value})
