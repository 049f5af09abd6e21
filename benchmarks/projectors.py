"""LangBridge over small and large vocabularies, against the MLP.

A training step of each projector, forward and backward, with a frozen table of random
embeddings: SmolLM2-135M's width and number of rows by default. The projectors take
turns. Baseline: MLPProjector with its two layers. Memory is what the forward pass keeps
for the backward pass, weights and embeddings aside, and the rows of the table that it
copies; both are counted, not sampled.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))


def prepared(size: int, rows: int, width: int, channels: int):
    """Build a LangBridge with that many entries, bound to evenly spread rows.

    Args:
        size: Entries.
        rows: Of the language model's table.
        width: Of the language model.
        channels: Of the visual tokens.

    Returns:
        The projector.
    """
    import torch

    from lbbt_mm.models import LangBridgeProjector

    projector = LangBridgeProjector(channels, width, vocabulary_size=size)
    # As bind does, without a tokenizer of that size.
    projector.ids = torch.arange(size) * rows // size
    projector.last_row = int(projector.ids[-1])
    return projector


def step(projector, tokens, table) -> tuple[float, int]:
    """Run one training step.

    Args:
        projector: Any.
        tokens: (B, T, channels).
        table: (V, width).

    Returns:
        Seconds, and bytes kept for the backward pass.
    """
    import torch

    known = {p.data_ptr() for p in projector.parameters()} | {table.data_ptr()}
    kept: dict[int, int] = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    projector.zero_grad()
    if tokens.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = projector(tokens, table).square().mean()
    loss.backward()
    if tokens.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start, sum(kept.values())


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8, help="images")
    parser.add_argument("--tokens", type=int, default=64, help="visual tokens an image")
    parser.add_argument("--channels", type=int, default=576, help="of visual tokens")
    parser.add_argument("--width", type=int, default=576, help="of the language model")
    parser.add_argument("--rows", type=int, default=49152, help="of its embeddings")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 4000, 19200])
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()

    import torch

    from lbbt_mm.models import MLPProjector

    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, width, channels = args.rows, args.width, args.channels
    tokens = torch.randn(args.batch, args.tokens, channels, device=device)
    tables = {
        factor: torch.randn(factor * rows, width, device=device) for factor in (1, 4)
    }
    projectors = {("MLP (baseline)", 1): MLPProjector(channels, width).to(device)}
    for size in args.sizes:
        name = f"LangBridge, K={size}"
        projectors[name, 1] = prepared(size, rows, width, channels).to(device)
    # The same entries in a table of four times as many rows.
    size = args.sizes[-1]
    projectors[f"LangBridge, K={size}", 4] = prepared(
        size, 4 * rows, width, channels
    ).to(device)

    found: dict[tuple[str, int], list[tuple[float, int]]] = {}
    for run in range(args.runs + 1):
        for key, projector in projectors.items():
            result = step(projector, tokens, tables[key[1]])
            if run:  # the first one warms up
                found.setdefault(key, []).append(result)

    print(
        f"{args.batch} x {args.tokens} tokens of {channels}, language model of "
        f"{width}, float32 on {device}, median of {args.runs}"
    )
    head = ("V", "parameters", "ms", "ratio", "kept MiB", "ratio")
    print(f"{'':<22}" + "".join(f"{name:>12}" for name in head))
    base: tuple[float, float] | None = None
    for (name, factor), results in found.items():
        seconds = statistics.median(result[0] for result in results)
        kept = results[0][1] / 2**20
        base = base or (seconds, kept)
        count = sum(p.numel() for p in projectors[name, factor].parameters())
        print(
            f"{name:<22}{factor * rows:>12}{count:>12}{1e3 * seconds:>12.1f}"
            f"{seconds / base[0]:>12.1f}{kept:>12.1f}{kept / base[1]:>12.1f}"
        )


if __name__ == "__main__":
    main()
