"""Train a small GPT-2 on English text: a language model where GPT-2 cannot be had.

TEXT are files and folders: plain text, HTML, manual pages, dictionaries, also within
.gz. OUT becomes a folder that transformers and `language_model=OUT` read, with log.json
and a picture of the loss. README.md beside this file says where text comes from, and
what an hour on a CPU gives: a weak model, but a real one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import _launch  # noqa: E402

_launch.hide_gpus_if_asked()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _subtask import Progress  # noqa: E402
from small_gpt2.model import build_model  # noqa: E402
from small_gpt2.options import read_settings  # noqa: E402
from small_gpt2.result import (  # noqa: E402
    describe,
    draw,
    measure,
    sample,
    save_model,
    summarize,
    write_json,
)
from small_gpt2.text import TextError, read_corpus  # noqa: E402
from small_gpt2.tokens import Windows, encode, train_tokenizer  # noqa: E402
from small_gpt2.train import Budget, Trainer, TrainingError  # noqa: E402


def prepare(
    args: argparse.Namespace, settings: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Read the text, learn the tokenizer and encode, unless that was done before.

    Nothing is written before the text has proved to be enough.

    Args:
        args: All options.
        settings: Those that a resumed run keeps.

    Returns:
        Training tokens, held-out tokens, and statistics.
    """
    folder = args.out / "training"
    record = folder / "text.json"
    if not record.exists():
        start = time.monotonic()
        progress = Progress("text")
        corpus = read_corpus(map(Path, args.text), args.held_out, progress.show)
        if not corpus.train or not corpus.held_out:
            raise TextError(
                f"after cleaning, the text gives {len(corpus.train)} documents to "
                f"train on and {len(corpus.held_out)} held out; expected some of both. "
                "Name more English text, or give a larger --held-out."
            )
        progress.show("learning the vocabulary", important=True)
        tokenizer = train_tokenizer(corpus.train, args.vocabulary, args.context)
        train = encode(tokenizer, corpus.train, progress.show)
        held_out = encode(tokenizer, corpus.held_out, progress.show)
        for name, tokens in (("training", train), ("held-out", held_out)):
            if len(tokens) < 2 * args.context + 1:
                raise TextError(
                    f"the text gives {len(tokens)} {name} tokens; expected at least "
                    f"{2 * args.context + 1}. Name more text."
                )
        statistics = dict(
            corpus.statistics,
            train_tokens=len(train),
            held_out_tokens=len(held_out),
            vocabulary=len(tokenizer),
            bytes_per_token=corpus.statistics["held_out_bytes"] / len(held_out),
            seconds=round(time.monotonic() - start, 1),
        )
        write_json(folder / "settings.json", settings)
        tokenizer.save_pretrained(args.out)
        arrays = dict(train=train, held_out=held_out)
        _launch.write_whole(folder / "tokens.npz", lambda p: np.savez(p, **arrays))
        write_json(record, statistics)
        progress.close("prepared")
    statistics = json.loads(record.read_text())
    with np.load(folder / "tokens.npz") as arrays:
        return arrays["train"], arrays["held_out"], statistics


def train(args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Prepare, train, measure and write everything.

    Args:
        args: All options.
        settings: Those that a resumed run keeps.
    """
    folder = args.out / "training"
    tokens, held_out, statistics = prepare(args, settings)
    print(
        f"  text: {statistics['train_bytes'] / 1e6:.1f} MB, {len(tokens) / 1e6:.2f} M "
        f"tokens to train on; {statistics['held_out_bytes'] / 1e6:.2f} MB, "
        f"{len(held_out) / 1e6:.2f} M tokens of other documents held out"
    )
    model = build_model(args, statistics["vocabulary"])
    trainer = Trainer(
        model,
        Windows(tokens, args.context, args.seed),
        held_out,
        Budget(args.steps, args.minutes and args.minutes * 60),
        batch=max(1, args.batch_tokens // args.context),
        micro=args.micro_batch,
        lr=args.lr,
        weight_decay=args.weight_decay,
        dtype=getattr(torch, args.dtype, torch.float32),
    )
    progress = Progress("training")
    if (folder / "state.pt").exists():
        trainer.read(folder / "state.pt")
        progress.show(f"goes on after step {trainer.state.step}", important=True)
    elif args.dtype == "auto":
        trainer.dtype = trainer.fastest_dtype(lambda t: progress.show(t, True))

    def save() -> None:
        trainer.write(folder / "state.pt")
        write_json(folder / "log.json", describe(args, settings, statistics, trainer))

    trainer.run(progress.show, save, args.save_minutes * 60)
    progress.show("measures on all held-out text", important=True)
    record = describe(args, settings, statistics, trainer)
    record["held_out"] = measure(trainer, tokens, statistics)
    save_model(model, args.out)
    record["samples"] = sample(model, args.out, args.seed)
    draw(record, args.out / "loss.png")
    write_json(args.out / "log.json", record)  # last: it says that all is done
    progress.close(f"{trainer.state.step} steps")
    summarize(record, args.out)


def main() -> None:
    """Run, and end with one sentence if something is wrong."""
    # The tokenizers' threads do not look at OMP_NUM_THREADS.
    os.environ.setdefault("RAYON_NUM_THREADS", str(torch.get_num_threads()))
    args, settings = read_settings(__doc__)
    if args.resume and (args.out / "log.json").exists():
        _launch.fail(f"{args.out} is complete; choose another --out for another model.")
    from safetensors import SafetensorError

    go_on = "Call it again with --resume to go on from the last save."
    try:
        train(args, settings)
    except (TextError, TrainingError) as error:
        _launch.fail(str(error))
    except (OSError, SafetensorError) as error:
        what = getattr(error, "filename", None) or args.out
        reason = getattr(error, "strerror", None) or error
        _launch.fail(
            f"{what} could not be written ({reason}). Free some space. {go_on}"
        )
    except KeyboardInterrupt:
        _launch.fail(f"stopped. {go_on}")


if __name__ == "__main__":
    main()
