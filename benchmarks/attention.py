"""Attention by plain products against torch's, over the number of tokens, on a CPU.

The rule of ``lbbt_mm.language.kernels.attention`` comes from this table: which is the
faster one in bfloat16, with and without a backward pass, and with dropout of the
probabilities, for which torch has no fused kernel. The computations take turns.
Baseline: ``torch.nn.functional.scaled_dot_product_attention``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).resolve().parent.parent))
from lbbt_mm.language import kernels


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[16, 49, 196, 400, 784]
    )
    parser.add_argument("--heads", type=int, default=12, help="of 64 channels")
    parser.add_argument("--rows", type=int, default=3136, help="tokens of a batch")
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def measure(
    tokens: int, args: argparse.Namespace, p: float, train: bool
) -> list[float]:
    """Return processor milliseconds of torch's and of ours, medians."""
    dtype = getattr(torch, args.dtype)
    batch = max(1, args.rows // tokens)
    qkv = torch.randn(batch, tokens, 3, args.heads, 64, dtype=dtype)
    q, k, v = (x.transpose(1, 2).detach().requires_grad_(train) for x in qkv.unbind(2))
    grad = torch.randn_like(q)
    causal = torch.zeros(tokens, tokens, dtype=dtype)
    causal.masked_fill_(torch.ones_like(causal, dtype=torch.bool).triu(1), -torch.inf)

    def torchs() -> torch.Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=p)

    def ours() -> torch.Tensor:
        return kernels._PlainAttention.apply(q, k, v, causal, p, 0.125)

    found: dict[object, list[float]] = {torchs: [], ours: []}
    for _ in range(args.runs + 1):
        for attend, times in found.items():
            start = time.process_time()
            out = attend()
            if train:
                out.backward(grad)
            times.append(1e3 * (time.process_time() - start))
    return [statistics.median(times[1:]) for times in found.values()]


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    print(f"{args.dtype}, causal, {args.heads} heads of 64, processor milliseconds")
    print(f"{'':>8}{'forward':>24}{'with backward':>24}{'and dropout':>24}")
    print(f"{'tokens':>8}" + f"{'torch':>8}{'ours':>8}{'ratio':>8}" * 3)
    for tokens in args.tokens:
        row = f"{tokens:>8}"
        for p, train in ((0.0, False), (0.0, True), (0.1, True)):
            torchs, ours = measure(tokens, args, p, train)
            row += f"{torchs:>8.1f}{ours:>8.1f}{torchs / ours:>8.2f}"
        print(row)


if __name__ == "__main__":
    main()
