"""A tiny classification project in a temporary folder, and a way to run tools on it."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from forked import ForkedScript, run_two
from mmengine.runner import CheckpointLoader, checkpoint
from PIL import Image

REPO = Path(__file__).resolve().parents[1]

CONFIG = """
default_scope = 'mmpretrain'
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=2),
    backbone=dict(
        type='VisionTransformer', img_size=8, patch_size=4, out_type='avg_featmap',
        arch=dict(embed_dims=16, num_layers=1, num_heads=2,
                  feedforward_channels=16)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16, cal_acc=True,
              topk=(1, ), loss=dict(type='CrossEntropyLoss')))
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs', algorithm_keys=('true_label', ))]
train_images = dict(
    type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=[
        dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5),
        dict(type='PackInputs')])
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='lbbt_mm.RandomLabelDataset', dataset=train_images,
                 num_classes=2, ratio=1.0, seed=3))
val_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='lbbt_mm.RandomLabelDataset', num_classes=2, ratio=1.0, seed=3,
                 dataset=dict(type='CustomDataset', data_root={root!r},
                              data_prefix='train', pipeline=pipeline)))
val_evaluator = [dict(type='lbbt_mm.BridgeAccuracy')]
test_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='test',
                 pipeline=pipeline))
test_evaluator = [
    dict(type='Accuracy', topk=(1, )), dict(type='lbbt_mm.BridgeAccuracy')]
train_cfg = dict(by_epoch=True, max_epochs=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-2))
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1))
custom_hooks = [dict(type='lbbt_mm.ThroughputHook', warmup=0)]
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
log_processor = dict(custom_cfg=[dict(
    data_src='accuracy_top-1', log_name='train_acc1', method_name='mean',
    window_size='epoch')])
randomness = dict(seed=0)
auto_scale_lr = dict(base_batch_size=2)
"""


def _write_images(folder: Path, dark: int, light: int) -> None:
    """Two classes of 8x8 images, told apart by any model."""
    rng = np.random.default_rng(0)
    for name, low, count in (("dark", 0, dark), ("light", 156, light)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(low, low + 100, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / name / f"{i}.png")


class Project:
    """A config, its images, and the tools of this repository."""

    repo = REPO
    tools = REPO / "tools"
    python = sys.executable

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "tiny.py"
        self.work_dir = root / "work"
        _write_images(root / "train", 4, 4)
        _write_images(root / "test", 3, 2)  # 5: two processes have to pad
        self.config.write_text(CONFIG.format(root=str(root)))

    def save_gpt2(self, blocks: int) -> str:
        """Write a small random GPT-2; returns its folder."""
        import torch
        import transformers as hf

        torch.manual_seed(0)
        sizes = dict(n_embd=16, n_layer=blocks, n_head=2, vocab_size=32)
        folder = str(self.root / "gpt2")
        hf.GPT2Model(hf.GPT2Config(**sizes, n_positions=16)).save_pretrained(folder)
        return folder

    @staticmethod
    def environment(**changes: str) -> dict[str, str]:
        """Give the environment of a process that finds this repository."""
        defaults = dict(OMP_NUM_THREADS="1", PYTHON=sys.executable)
        env = {**os.environ, **defaults, **changes}
        paths = [str(REPO), env.get("PYTHONPATH", "")]
        return dict(env, PYTHONPATH=os.pathsep.join(filter(None, paths)))

    def run(self, *command: str, ok: bool = True, env: dict | None = None) -> str:
        """Run a program; returns stdout and stderr, and checks the exit status."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.root,
            env=self.environment(**(env or {})),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert (done.returncode == 0) == ok, done.stdout
        return done.stdout

    def tool(self, name: str, *options: str, ok: bool = True) -> str:
        """Run ``tools/NAME`` on the config, on the CPU, in the work folder."""
        command = [REPO / "tools" / name, self.config, *options, "--device", "cpu"]
        process = ForkedScript(
            [*command, "--work-dir", self.work_dir], self.root, self.environment()
        )
        said, _ = process.communicate()
        assert (process.returncode == 0) == ok, said
        return said

    def tool_in_two(self, name: str, *options: str, env: dict | None = None) -> str:
        """Run ``tools/NAME`` in two processes, on the CPU; returns what they said."""
        command = [REPO / "tools" / name, *options]
        command += ["--device", "cpu", "--launcher", "pytorch"]
        return run_two(command, self.root, self.environment(**(env or {})))

    def scalars(self) -> list[dict]:
        """All records of the latest run that wrote scalars.json."""
        path = max(self.work_dir.glob("*/vis_data/scalars.json"))
        return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, project: Project) -> Iterator[Callable]:
    """Load a script into this process; spares the ten seconds of a new one.

    ``tool(path, *argv)`` returns the module, whose ``main()`` sees the arguments. The
    working folder is the project's.
    """
    monkeypatch.setattr(sys, "path", [str(REPO / "tools"), *sys.path])
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("mmengine.device.get_device", lambda: "cpu")
    # Its import guards mmengine's loaders for good; before what follows notes them,
    # or the first tool of a process would leave the later tests without the guard.
    import lbbt_mm  # noqa: F401

    # The tools exchange mmengine's loaders; other tests want its own again.
    for owner, name in ((CheckpointLoader, "_schemes"), (checkpoint, "load_url")):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.chdir(project.root)

    def load(name: str, *argv: str) -> ModuleType:
        path = REPO / name if "/" in name else REPO / "tools" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, argv)])
        monkeypatch.syspath_prepend(str(path.parent))  # as Python does for a script
        # By path: `test` and `linear_probe` are names of other modules too.
        spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
        module = importlib.util.module_from_spec(spec)
        # Dataclasses look their module up.
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    yield load
    sys.modules.pop("_launch", None)


@pytest.fixture
def ended(tool: Callable, capfd: pytest.CaptureFixture) -> Callable:
    """Run a tool to its end; ``ended(path, *argv)`` tells of it as a process would."""

    def run(name: str, *argv: object) -> subprocess.CompletedProcess:
        capfd.readouterr()
        status: object = 0
        try:
            tool(name, *map(str, argv)).main()
        except SystemExit as end:
            status = end.code
        said = capfd.readouterr()
        return subprocess.CompletedProcess(argv, status, said.out, said.err)

    return run


@pytest.fixture
def failing(tool: Callable, project: Project) -> Callable:
    """Run a tool that must end in one sentence; returns the sentence."""

    def run(name: str, *argv: object, config: object = None) -> str:
        options = (config or project.config, *argv, "--work-dir", project.work_dir)
        with pytest.raises(SystemExit) as caught:
            tool(name, *options).main()
        message = str(caught.value)
        assert caught.value.code == 2, "as argparse ends"
        assert message.startswith(f"{name}: error: ") and "\n" not in message
        return message

    return run


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A fresh project."""
    return Project(tmp_path)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after one epoch of tools/train.py; the tests only read it."""
    project = Project(tmp_path_factory.mktemp("trained"))
    project.output = project.tool("train.py", "--amp")
    return project
