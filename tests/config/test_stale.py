"""A run of another tool, in which a variable was set without effect, is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.hooks import ConfigNamesHook

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BRIDGE = CONFIGS / "bridge/gpt2-medium_language_random100_400e_cifar100.py"


def run(cfg: Config) -> None:
    ConfigNamesHook().before_run(SimpleNamespace(cfg=cfg))


@pytest.fixture
def child(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "child.py"
        path.write_text(f"_base_ = [{str(BRIDGE)!r}]\n{text}\n")
        return path

    return write


def test_every_shipped_run_has_the_hook() -> None:
    hook = Config.fromfile(BRIDGE).default_hooks.config_names
    assert hook.type == "lbbt_mm.ConfigNamesHook"


def test_a_child_without_effect(child) -> None:
    cfg = Config.fromfile(child("random_ratio = 0.15"))
    with pytest.raises(ConfigError, match="train_dataloader.dataset.ratio=0.15"):
        run(cfg)


def test_an_option_without_effect(child) -> None:
    cfg = Config.fromfile(child("label_note = 1"))
    cfg.merge_from_dict({"lr": 0.1})  # as `mim train --cfg-options lr=0.1` does
    with pytest.raises(ConfigError, match="sets lr, .*optim_wrapper.optimizer.lr=0.1"):
        run(cfg)
    cfg.merge_from_dict({"optim_wrapper.optimizer.lr": 0.1})
    run(cfg)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch_size = 16\ntrain_dataloader = dict(batch_size=batch_size)",
        "max_epochs = 9\ntrain_cfg = dict(max_epochs=9)",
        "train_dataloader = dict(batch_size=3)",
        "note = 'a name of my own'",
        "lr = 2.5e-4  # as it is",
    ],
)
def test_correct_runs_pass(child, text: str) -> None:
    run(Config.fromfile(child(text)))
    cfg = Config.fromfile(child(text))
    cfg.merge_from_dict({"train_dataloader.batch_size": 5, "resume": True})
    run(cfg)


def test_what_our_loader_read_passes(child, tmp_path: Path) -> None:
    cfg = load_config(child("random_ratio = 0.15"), {"lr": 0.1})
    run(cfg)
    cfg.dump(tmp_path / "dumped.py")
    run(Config.fromfile(tmp_path / "dumped.py"))
    again = Config.fromfile(tmp_path / "dumped.py")
    again.merge_from_dict({"lr": 0.2})
    with pytest.raises(ConfigError, match="sets lr, .* set optim_wrapper.optimizer.lr"):
        run(again)
    again.merge_from_dict({"optim_wrapper.optimizer.lr": 0.2})
    run(again)
    run(Config(dict(model=1)))  # from no file
    run(Config(dict(lr=1), filename=None))
