"""Copying GPT-2 into 12 + 12 DETR-sized layers, against just reading its file.

Each measurement is a fresh process; the two take turns. Time and memory count from
after the imports, and with the model built: seconds, and how far the peak resident
memory rises. Baseline: the bytes of the file, read from the page cache. The file is a
randomly initialised GPT-2 of full size, written by transformers.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from load_language_model import peak_mib

sys.path.append(str(Path(__file__).resolve().parent.parent))


def write_gpt2(folder: str) -> None:
    """Write a random GPT-2 small, 0.5 GB."""
    import transformers

    transformers.GPT2Model(transformers.GPT2Config()).save_pretrained(folder)


def build_layers(depth: int):
    """12 + 12 pre-norm layers of torch.nn at GPT-2's sizes, 198 M parameters."""
    import torch.nn.functional as F
    from torch import nn

    options = dict(
        activation=functools.partial(F.gelu, approximate="tanh"), norm_first=True
    )
    model = nn.Module()
    for name, kind in (
        ("encoder", nn.TransformerEncoderLayer),
        ("decoder", nn.TransformerDecoderLayer),
    ):
        layers = [kind(768, 12, 3072, **options) for _ in range(depth)]
        model.add_module(name, nn.ModuleList(layers))
    return model


def measure(what: str, folder: str) -> dict[str, float]:
    """Read or copy once in this process."""
    import torch
    import transformers  # noqa: F401  (part of opening a checkpoint; not timed)

    from lbbt_mm.language import open_checkpoint
    from lbbt_mm.transplant import make_plan

    torch.set_num_threads(1)
    model = build_layers(12)
    copies = [dict(module="encoder"), dict(module="decoder")]
    before, start = peak_mib(), time.perf_counter()
    if what == "copy":
        make_plan(model, open_checkpoint(folder), copies).apply(model)
    else:
        Path(folder, "model.safetensors").read_bytes()
    return {"seconds": time.perf_counter() - start, "mib": peak_mib() - before}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(*args.one)))
        return
    found: dict[str, list[dict[str, float]]] = {"read": [], "copy": []}
    with tempfile.TemporaryDirectory() as folder:
        write_gpt2(folder)
        for _ in range(args.runs):
            for what, results in found.items():
                command = [sys.executable, __file__, "--one", what, folder]
                said = subprocess.run(
                    command, check=True, capture_output=True, text=True
                )
                results.append(json.loads(said.stdout.splitlines()[-1]))
                print(f"  {what:<5} {results[-1]}", file=sys.stderr)
    median = {
        what: {
            key: statistics.median(r[key] for r in results)
            for key in ("seconds", "mib")
        }
        for what, results in found.items()
    }
    print(f"{'median of ' + str(args.runs):<36}{'seconds':>9}{'MiB':>9}")
    for what, title in (
        ("read", "read the file"),
        ("copy", "plan, copy into 12 + 12, hash"),
    ):
        print(f"{title:<36}{median[what]['seconds']:>9.2f}{median[what]['mib']:>9.0f}")
    ratio = median["copy"]["seconds"] / median["read"]["seconds"]
    print(f"{'copying, in readings':<36}{ratio:>9.2f}")


if __name__ == "__main__":
    main()
