"""What comes out of projects/small_gpt2/pretrain.py: measures, samples, files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import _launch
import numpy as np
import torch
from torch import nn

from lbbt_mm.version import __version__
from small_gpt2.tokens import END, measures, unigram_loss
from small_gpt2.train import Trainer

PROMPTS = ("", "The word is used", "In order to", "There are two kinds of")


def measure(
    trainer: Trainer, train: np.ndarray, statistics: dict[str, Any]
) -> dict[str, Any]:
    """Measure the model and the unigram baseline on the same held-out tokens.

    Args:
        trainer: With the trained model.
        train: Training tokens, ``(n,)``.
        statistics: Of the text.

    Returns:
        ``tokens`` measured, ``model`` and ``unigram``.
    """
    total, count = trainer.held_out_loss()
    per_byte = 1 / statistics["bytes_per_token"]
    predicted = trainer.held_out[1 : count + 1]  # those of the windows side by side
    baseline = unigram_loss(train, predicted, statistics["vocabulary"])
    return dict(
        tokens=count,
        model=measures(total / count, per_byte),
        unigram=measures(baseline, per_byte),
    )


def sample(model: nn.Module, out: Path, seed: int) -> list[str]:
    """Let the model write, with its 40 likeliest tokens and a fixed seed.

    Args:
        model: The GPT-2.
        out: Folder of its tokenizer.
        seed: Of what is drawn.

    Returns:
        One text for each prompt that its context has room for.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(out)
    torch.manual_seed(seed)
    written = []
    for prompt in PROMPTS:
        tokens = tokenizer(END + prompt, return_tensors="pt").to(model.device)
        if tokens["input_ids"].shape[1] >= model.config.n_positions:
            continue
        longest = min(model.config.n_positions, tokens["input_ids"].shape[1] + 80)
        output = model.eval().generate(
            **tokens, do_sample=True, top_k=40, max_length=longest, pad_token_id=0
        )
        written.append(tokenizer.decode(output[0], skip_special_tokens=True))
    return written


def save_model(model: nn.Module, out: Path) -> None:
    """Write it as transformers does; each file is there whole or not at all.

    Args:
        model: The GPT-2.
        out: Folder.
    """
    with tempfile.TemporaryDirectory(prefix=".model.part-", dir=out) as hidden:
        model.save_pretrained(hidden)
        for file in sorted(Path(hidden).iterdir()):
            _launch.write_whole(
                out / file.name, lambda part, file=file: os.replace(file, part)
            )


def draw(record: dict[str, Any], path: Path) -> None:
    """Draw the loss over the tokens seen.

    Args:
        record: What log.json holds.
        path: Picture to write.
    """
    from matplotlib.figure import Figure  # not pyplot, which would pick a backend

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    curve = record["curve"]
    axes.plot([p["tokens"] / 1e6 for p in curve], [p["loss"] for p in curve], lw=1)
    measured = [p for p in curve if "held_out_loss" in p]
    axes.plot(
        [p["tokens"] / 1e6 for p in measured],
        [p["held_out_loss"] for p in measured],
        "o-",
        ms=3,
    )
    unigram = record["held_out"]["unigram"]["loss"]
    axes.axhline(unigram, color="0.4", ls=":")
    axes.legend(["training", "held out", f"unigram, {unigram:.2f}"], frameon=False)
    axes.set(xlabel="million tokens", ylabel="loss, nats per token")
    axes.spines[["top", "right"]].set_visible(False)
    _launch.write_whole(path, lambda part: figure.savefig(part, dpi=150))


def write_json(path: Path, content: Any) -> None:
    """Write a record, whole or not at all.

    Args:
        path: The file.
        content: What JSON can hold.
    """
    text = json.dumps(content, indent=2) + "\n"
    _launch.write_whole(path, text)


def describe(
    args: argparse.Namespace,
    settings: dict[str, Any],
    statistics: dict[str, Any],
    trainer: Trainer,
) -> dict[str, Any]:
    """Record what ran, where, and how it went so far.

    Args:
        args: All options.
        settings: Those that a resumed run keeps.
        statistics: Of the text.
        trainer: As far as it is.

    Returns:
        What log.json holds, without the final measures.
    """
    import tokenizers
    import transformers

    state = trainer.state
    tokens = state.step * trainer.batch * args.context
    gpu = args.device == "cuda"
    return dict(
        command=shlex.join(["python", *sys.argv]),
        settings=settings,
        versions=dict(
            lbbt_mm=__version__,
            torch=torch.__version__,
            transformers=transformers.__version__,
            tokenizers=tokenizers.__version__,
            python=platform.python_version(),
        ),
        machine=dict(
            device=torch.cuda.get_device_name() if gpu else "cpu",
            processor=platform.machine(),
            cpus=os.cpu_count(),
            threads=torch.get_num_threads(),
        ),
        text=statistics,
        parameters=sum(p.numel() for p in trainer.model.parameters()),
        precision=str(trainer.dtype).removeprefix("torch."),
        steps=state.step,
        tokens=tokens,
        passes_over_text=tokens / statistics["train_tokens"],
        seconds=round(state.seconds, 1),
        curve=state.curve,
    )


def summarize(record: dict[str, Any], out: Path) -> None:
    """Print what came out.

    Args:
        record: What log.json holds.
        out: Folder of the model.
    """
    for text in record["samples"]:
        print(f"\n> {text}")
    print(
        f"\n{record['tokens'] / 1e6:.2f} M tokens seen, "
        f"{record['passes_over_text']:.2f} passes over the text. Held-out text, "
        f"{record['held_out']['tokens']} tokens:"
    )
    for name in ("unigram", "model"):
        values = record["held_out"][name]
        print(
            f"  {name:8} perplexity {values['perplexity']:8.1f} per token, "
            f"{values['bits_per_byte']:.3f} bits per byte"
        )
    print(f"The model is in {out}, the curve in {out / 'loss.png'}.")
