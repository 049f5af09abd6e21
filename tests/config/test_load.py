"""A variable of a config means the same in every file that it goes through."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mmdet
import mmengine
import mmpretrain
import mmseg
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from lbbt_mm.config import ConfigError, load_config
from lbbt_mm.config.names import changed_keys, effective

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
BRIDGE = CONFIGS / "bridge/gpt2-medium_language_random100_400e_cifar100.py"


@pytest.fixture
def child(tmp_path: Path):
    """Write a child of a shipped config."""

    def write(text: str, base: str | Path = BRIDGE, name: str = "child.py") -> Path:
        path = tmp_path / name
        path.write_text(f"_base_ = [{str(base)!r}]\n{text}\n")
        return path

    return write


SETTINGS = {  # a variable -> its value, and the keys that have to have it
    "random_ratio": (0.15, ["train_dataloader.dataset.ratio"]),
    "label_seed": (7, ["train_dataloader.dataset.seed", "val_dataloader.dataset.seed"]),
    "exclude_true_label": (True, ["train_dataloader.dataset.exclude_true_label"]),
    "lr": (1e-2, ["optim_wrapper.optimizer.lr"]),
    "max_epochs": (50, ["train_cfg.max_epochs"]),
    "batch_size": (8, ["train_dataloader.batch_size", "val_dataloader.batch_size"]),
    "num_layers": (2, ["model.backbone.num_layers"]),
    "language_model": ("gpt2", ["model.backbone.language_model"]),
    "data_root": ("/d", ["train_dataloader.dataset.dataset.data_root"]),
    "seed": (3, ["randomness.seed"]),
    "checkpoint_interval": (2, ["default_hooks.checkpoint.interval"]),
}


def value_of(cfg: Config, key: str):
    for step in key.split("."):
        cfg = cfg[step]
    return cfg


@pytest.mark.parametrize("way", ["command line", "child", "grandchild"])
def test_what_is_made_from_a_variable_follows(way: str, child) -> None:
    options = {name: value for name, (value, _) in SETTINGS.items()}
    text = "\n".join(f"{name} = {value!r}" for name, value in options.items())
    if way == "command line":
        cfg = load_config(BRIDGE, options)
    elif way == "child":
        cfg = load_config(child(text))
    else:
        child("lr = 3.0\nseed = 11")
        cfg = load_config(child(text, "child.py", "grandchild.py"))
    for name, (value, keys) in SETTINGS.items():
        assert cfg[name] == value
        assert {value_of(cfg, key) for key in keys} == {value}, name


def test_the_dumped_config_says_what_is_built(tmp_path: Path) -> None:
    cfg = load_config(BRIDGE, {"random_ratio": 0.15, "optim_wrapper.optimizer.lr": 1.0})
    cfg.dump(tmp_path / "dumped.py")
    dumped = Config.fromfile(tmp_path / "dumped.py")
    assert dumped.random_ratio == dumped.train_dataloader.dataset.ratio == 0.15
    assert dumped.lr == dumped.optim_wrapper.optimizer.lr == 1.0


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        ({"model.backbone.language_model": "gpt2"}, "language_model", "gpt2"),
        ({"model.backbone.num_layers": None}, "num_layers", None),
        ({"max_epochs": 10, "train_cfg.max_epochs": 3}, "max_epochs", 3),
        ({"train_dataloader.dataset.exclude_true_label": True},
         "exclude_true_label", False),  # not in the other loader
    ],
)  # fmt: skip
def test_a_variable_says_what_is_built(options, name: str, value) -> None:
    assert load_config(BRIDGE, options)[name] == value


def test_precedence(child) -> None:
    path = child("batch_size = 16\nrandom_ratio = 0.5")
    cfg = load_config(path, {"batch_size": 8, "train_dataloader.batch_size": 4})
    assert cfg.train_dataloader.batch_size == 4  # its own key
    assert cfg.val_dataloader.batch_size == 8  # the command line's variable
    assert cfg.train_dataloader.dataset.ratio == 0.5  # the file's


def test_derived_values_follow(child) -> None:
    cfg = load_config(
        child(
            "random_ratio = 0.15\nwork_dir = f'runs/{random_ratio}'\nlr = 2 * _base_.lr"
        ),
        {"seed": 4},
    )
    assert cfg.work_dir == "runs/0.15"
    assert cfg.train_dataloader.dataset.ratio == 0.15
    assert cfg.optim_wrapper.optimizer.lr == cfg.lr == 5e-4
    cfg = load_config(child("work_dir = f'runs/{_base_.random_ratio}'"))
    assert cfg.work_dir == "runs/1.0"
    cfg = load_config(
        child("work_dir = f'runs/{_base_.random_ratio}'"), {"random_ratio": 0.9}
    )
    assert cfg.work_dir == "runs/0.9"


def test_values_taken_from_a_base_by_braces(child) -> None:
    """mmengine reads ``{{_base_.NAME}}`` as a text of its own until the file ends."""
    path = child("lr = {{_base_.weight_decay}}\nbatch_size = 2")
    cfg = load_config(path)
    assert (cfg.lr, cfg.train_dataloader.batch_size) == (0.05, 2)
    assert cfg.optim_wrapper.optimizer.lr == 0.05
    cfg = load_config(path, {"weight_decay": 0.25})
    assert cfg.optim_wrapper.optimizer.lr == cfg.lr == 0.25


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_children_that_are_no_python(child, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"child{suffix}"
    mmengine.dump({"_base_": [str(BRIDGE)], "lr": 1.0, "batch_size": 4}, path)
    cfg = load_config(path)
    assert cfg.optim_wrapper.optimizer.lr == 1.0
    grandchild = load_config(child("batch_size = 2", path))
    assert grandchild.optim_wrapper.optimizer.lr == 1.0
    assert grandchild.train_dataloader.batch_size == 2
    mmengine.dump({"_base_": [str(BRIDGE)], "bach_size": 4}, path)
    with pytest.raises(ConfigError, match="did you mean batch_size"):
        load_config(path)


def test_parts_that_are_variables(child) -> None:
    options = {"random_labels.ratio": 0.2}
    assert load_config(BRIDGE, options).train_dataloader.dataset.ratio == 0.2
    path = child("images = dict(data_root='/elsewhere')")
    cfg = load_config(path)
    assert cfg.train_dataloader.dataset.dataset.data_root == "/elsewhere"
    assert cfg.train_dataloader.dataset.dataset.type == "CIFAR100"


def test_mmengines_own_way_is_left_alone(child) -> None:
    path = child(
        "batch_size = 16\ntrain_dataloader = dict(batch_size=batch_size)\n"
        "model = dict(head=dict(topk=(1, 5)))\ncustom_hooks = []\nload_from = 'x.pth'"
    )
    assert load_config(path).to_dict() == Config.fromfile(path).to_dict()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"random_ration": 0.1}, "did you mean random_ratio"),
        ({"optim_wraper.optimizer.lr": 1}, "did you mean optim_wrapper"),
        ({"train_dataloader.batchsize": 1}, "did you mean train_dataloader.batch_size"),
        ({"train_cfg.max_epoch": 1}, "did you mean train_cfg.max_epochs"),
        ({"frobnicate": 1}, "sets frobnicate, but nothing in the config is made"),
        ({"max_iters": 10}, "set train_cfg.max_epochs instead"),
        ({"train_cfg.max_iters": 10}, "counts in epochs: set train_cfg.max_epochs"),
        ({"train_cfg.max_epochs": 0}, "expects a positive whole number, got 0"),
        ({"max_epochs": 1.5}, "expects a positive whole number, got 1.5"),
        ({"model.type.a": 1}, "does not fit"),
        ({"lr.x": 1}, "lr does not fit .* it is 0.00025, which has no key 'x'"),
        ({"lr": "high"}, "lr expects a number .* got 'high'"),
        ({"exclude_true_label": "yes"}, "expects True or False .* got 'yes'"),
        ({"LR": 1}, "did you mean lr"),
        ({"learning_rate": 1}, "the config's own names are .* lr, "),
        ({"dataset_type": "X"}, "set test_dataloader.dataset.type or "),
    ],
)
def test_what_cannot_work_is_refused(options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(BRIDGE, options)


def test_a_variable_without_effect_names_the_key(tmp_path: Path) -> None:
    """As in the config that a run left in its folder."""
    load_config(BRIDGE).dump(tmp_path / "dumped.py")
    with pytest.raises(ConfigError, match=r"set .*train_dataloader\.batch_size"):
        load_config(tmp_path / "dumped.py", {"batch_size": 8})
    with pytest.raises(ConfigError, match=r"set .*train_dataloader\.dataset\.ratio"):
        load_config(tmp_path / "dumped.py", {"random_ratio": 0.1})
    same = load_config(tmp_path / "dumped.py", {"random_ratio": 1.0})  # as it is
    assert same.random_ratio == 1.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("random_ration = 0.1", "did you mean random_ratio"),
        ("optim_wraper = dict(optimizer=dict(lr=1))", "did you mean optim_wrapper"),
        ("LR = 0.1", "did you mean lr"),
    ],
)
def test_misspelt_in_a_child(child, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(child(text))


def test_a_name_that_is_like_none_is_said(child, capsys) -> None:
    MMLogger.get_instance(str(id(child)))
    load_config(child("learning_rate = 0.1"))
    assert "sets learning_rate, which nothing reads" in capsys.readouterr().out


def test_a_child_that_changes_nothing(child) -> None:
    base = CONFIGS / "probe/smollm2-b8_language-probe_true_100e_mnist5k.py"
    with pytest.raises(ConfigError, match="sets label_smoothing, but nothing"):
        load_config(child("label_smoothing = 0.3", base))
    helper = child("crop = 8\nmodel = dict(head=dict(topk=(crop,)))")
    assert load_config(helper).model.head.topk == (8,)


def test_a_variable_by_its_old_name(child, capsys) -> None:
    stage2 = "llava/langbridge-qwen2-7b_language_stage2-transferred_llava-665k.py"
    MMLogger.get_instance(str(id(child)))
    cfg = load_config(CONFIGS / stage2, {"moved": "mine.pth"})
    assert cfg.load_from == cfg.transferred == "mine.pth" and "moved" not in cfg
    assert "moved is called transferred now" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="it is called transferred now"):
        load_config(child("moved = 'mine.pth'", CONFIGS / stage2))
    with pytest.raises(ConfigError, match="sets moved, but nothing in the config"):
        load_config(BRIDGE, {"moved": "mine.pth"})


STOCK = [
    *((mmpretrain, p) for p in ("resnet/resnet18_8xb16_cifar10.py",
                                "vision_transformer/vit-base-p16_64xb64_in1k.py")),
    *((mmdet, p) for p in ("detr/detr_r50_8xb2-150e_coco.py",
                           "rtmdet/rtmdet_s_8xb32-300e_coco.py")),
    (mmseg, "segmenter/segmenter_vit-t_mask_8xb1-160k_ade20k-512x512.py"),
]  # fmt: skip


def stock(library, name: str) -> Path:
    return Path(library.__file__).parent / ".mim/configs" / name


@pytest.mark.parametrize(("library", "name"), STOCK, ids=lambda p: str(p)[:40])
def test_other_libraries_configs_pass_as_they_are(library, name, tmp_path) -> None:
    path = stock(library, name)
    theirs, ours = Config.fromfile(path), load_config(path)
    assert ours.to_dict() == theirs.to_dict()
    assert (ours.text, ours.filename) == (theirs.text, theirs.filename)
    below = tmp_path / "below.py"
    below.write_text(
        f"_base_ = {str(path)!r}\ndata_root = '/mine'\nmax_epochs = 3\nnew = 1\n"
    )
    assert load_config(below).to_dict() == Config.fromfile(below).to_dict()
    cfg = load_config(path, {"custom": 1, "default_hooks.logger.interval": 7})
    assert cfg.custom == 1 and cfg.default_hooks.logger.interval == 7


def test_a_variable_of_another_library_works_from_the_command_line() -> None:
    cfg = load_config(stock(*STOCK[3]), {"max_epochs": 7, "data_root": "/d/"})
    assert cfg.train_cfg.max_epochs == 7
    assert cfg.train_dataloader.dataset.data_root == "/d/"


def test_configs_in_the_new_style(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(
        "from torch.optim import AdamW\nlr = 1.0\n"
        "optim_wrapper = dict(optimizer=dict(type=AdamW, lr=lr))\n"
    )
    path = tmp_path / "leaf.py"
    path.write_text(
        "from mmengine.config import read_base\nwith read_base():\n"
        "    from .base import *\nwork_dir = f'runs/{lr}'\n"
    )
    theirs, ours = Config.fromfile(path), load_config(path)
    assert ours.to_dict() == theirs.to_dict()
    cfg = load_config(path, {"lr": 2.0})
    assert cfg.optim_wrapper.optimizer.lr == 2.0 and cfg.work_dir == "runs/2.0"


def test_a_copied_folder_of_configs_is_still_ours(tmp_path: Path) -> None:
    runtime = (CONFIGS / "_base_/runtime/default.py").read_text()
    (tmp_path / "runtime.py").write_text(runtime)
    path = tmp_path / "leaf.py"
    path.write_text("_base_ = './runtime.py'\nseed = 5\n")
    assert load_config(path).randomness.seed == 5


def test_shipped_configs_read_as_mmengine_reads_them() -> None:
    """The slow rest of them: benchmarks and releases; here those that reassign."""
    for name in (
        "probe/smollm2-b8_language-probe_true_100e_mnist5k.py",
        "sharded/qwen3-8b_language_random100_400e_cifar10.py",
        "../projects/fashion_scenes/configs/detr/"
        "detr-r18-postnorm_minilm_language_1xb8-2k_fashion-scenes.py",
        "segmenter/segmenter-vit-l_gpt2-medium_language_8xb1-160k_ade20k.py",
        "objectives/minilm_language_true+entropy_6e_fashion-mnist.py",
        "../projects/fashion_scenes/configs/llava/"
        "llava-smollm2_language_stage2_plain-questions.py",
    ):
        path = CONFIGS / name
        assert load_config(path).to_dict() == Config.fromfile(path).to_dict(), name


def test_a_base_under_its_old_name_is_answered_with_the_new_one(tmp_path) -> None:
    old = CONFIGS / "probe/smollm2-b8_language-probe_correct_100e_mnist5k.py"
    path = tmp_path / "child.py"
    path.write_text(f"_base_ = {str(old)!r}\n")
    with pytest.raises(ConfigError, match="called _correct are called _true now"):
        load_config(path)


def test_changed_keys_and_the_effective_part() -> None:
    cfg = Config(dict(lr=1, optim_wrapper=dict(a=[1, dict(b=2)])))
    assert effective(cfg) == dict(optim_wrapper=dict(a=[1, dict(b=2)]))
    other = dict(optim_wrapper=dict(a=[1, dict(b=3)]))
    assert changed_keys(effective(cfg), other) == ["optim_wrapper.a.1.b"]


def test_a_file_that_a_value_does_not_reach_is_read_once(monkeypatch) -> None:
    read: Counter[str] = Counter()
    theirs = Config._substitute_predefined_vars

    def counted(filename: str, temporary: str) -> None:
        read[Path(filename).name] += 1
        theirs(filename, temporary)

    monkeypatch.setattr(Config, "_substitute_predefined_vars", staticmethod(counted))
    options = {"random_ratio": 1, "lr": 0.5, "model.backbone.num_layers": 2}
    cfg = load_config(BRIDGE, options)
    assert type(cfg.train_dataloader.dataset.ratio) is int  # 1.0 in the file
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.model.backbone.num_layers == cfg.num_layers == 2
    # Plain, and with the values of the files between it and the config.
    assert {read["default.py"], read["cifar100.py"]} == {2}
    assert max(read.values()) == read[BRIDGE.name] <= 8


def test_threads_do_not_disturb_each_other() -> None:
    """As in tools/sweep.py --jobs."""

    def read(i: int) -> bool:
        if i % 2:
            return Config.fromfile(BRIDGE).random_ratio == 1.0
        cfg = load_config(BRIDGE, {"random_ratio": i / 100})
        return cfg.train_dataloader.dataset.ratio == cfg.random_ratio == i / 100

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(16)))
