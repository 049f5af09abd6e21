"""DETR's encoder on torch's fused attention, against mmcv's path.

A training step (forward, backward, AdamW) and an inference of mmdet's encoder at the
size of a language model. The last image of the batch is padded, as DETR's batches are.
Each measurement is a fresh process; the two take turns. Memory is how far the peak
rises from where it was before the first batch: allocated memory on a GPU, resident
memory on a CPU.
Baseline: mmdet's DetrTransformerEncoder, the same weights and the same batch.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
ARMS = {"mmcv": "mmcv's attention (baseline)", "fused": "fused attention, lbbt_mm"}
WHAT = ("inference", "training step")


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, words in [
        ("width", 768, "channels"),
        ("heads", 12, "attention heads"),
        ("layers", 4, "encoder layers"),
        ("rows", 25, "rows of the feature map"),
        ("columns", 38, "columns of the feature map"),
        ("batch-size", 2, "images"),
        ("steps", 3, "steps of which one process takes the median"),
        ("runs", 5, "processes for each arm"),
    ]:
        words += "; default: %(default)s"
        parser.add_argument(f"--{name}", type=int, default=default, help=words)
    parser.add_argument(
        "--dropout",
        type=float,
        default=0.1,
        help="DETR's own is the default, %(default)s; with any, a CPU has no fused "
        "kernel for training",
    )
    parser.add_argument("--amp", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--cpu", action="store_true", help="even where a GPU is")
    parser.add_argument("--one", choices=ARMS, help=argparse.SUPPRESS)
    return parser.parse_args()


def peak_mib(device: str) -> float:
    """Peak memory of this process so far, in MiB."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def median_ms(step: Callable[[], object], steps: int, device: str) -> float:
    """Run a step often, once to warm up, and return its median in milliseconds."""
    import torch

    found = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        found.append(1e3 * (time.perf_counter() - start))
    return statistics.median(found[1:])


def measure(args: argparse.Namespace) -> dict[str, object]:
    """Measure one arm in this process.

    Args:
        args: The command line; ``args.one`` is the arm.

    Returns:
        Milliseconds and MiB of each of :data:`WHAT`, the device, and a sum over the
        outputs by which the arms can be compared.
    """
    import torch
    from mmdet.models.layers import DetrTransformerEncoder

    from lbbt_mm.models.detection.fused_detr import FusedEncoder

    torch.set_num_threads(1)
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() and not args.cpu else "cpu"
    encoder_type = FusedEncoder if args.one == "fused" else DetrTransformerEncoder
    encoder = encoder_type(
        num_layers=args.layers,
        layer_cfg=dict(
            self_attn_cfg=dict(
                embed_dims=args.width,
                num_heads=args.heads,
                dropout=args.dropout,
                batch_first=True,
            ),
            ffn_cfg=dict(
                embed_dims=args.width,
                feedforward_channels=4 * args.width,
                ffn_drop=args.dropout,
                act_cfg=dict(type="GELU", approximate="tanh"),
            ),
        ),
    ).to(device)
    shape = (args.batch_size, args.rows * args.columns, args.width)
    query, positions = torch.randn(2, *shape).to(device)
    padding = torch.zeros(args.batch_size, args.rows, args.columns, dtype=torch.bool)
    padding[-1, :, args.columns * 4 // 5 :] = True
    padding = padding.flatten(1).to(device)
    optimizer = torch.optim.AdamW(encoder.parameters())

    def forward() -> torch.Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=args.amp):
            return encoder(query, positions, padding)

    @torch.no_grad()
    def infer() -> float:
        return forward()[~padding].float().abs().sum().item()

    def train() -> None:
        optimizer.zero_grad()
        forward().float().square().mean().backward()
        optimizer.step()

    before = peak_mib(device)
    encoder.eval()
    result: dict[str, object] = dict(device=device, check=infer())
    for what, step in zip(WHAT, (infer, train), strict=True):
        encoder.train(what != "inference")
        ms = median_ms(step, args.steps, device)
        result[what] = dict(ms=ms, mib=peak_mib(device) - before)
    if device == "cuda":
        result["device"] = torch.cuda.get_device_name()
    return result


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    if args.one:
        print(json.dumps(measure(args)))
        return
    found: dict[str, list[dict]] = {arm: [] for arm in ARMS}
    for _ in range(args.runs):
        for arm, results in found.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--one", arm]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if said.returncode:
                raise SystemExit(f"The measurement failed: {' '.join(command)}")
            results.append(json.loads(said.stdout.splitlines()[-1]))
            print(f"  {arm:<5} {results[-1]}", file=sys.stderr)
    checks = [result["check"] for results in found.values() for result in results]
    if max(checks) - min(checks) > (1e-2 if args.amp else 1e-4) * max(checks):
        raise SystemExit(f"The arms compute different things: {sorted(set(checks))}.")

    print(
        f"\n{args.layers} encoder layers of width {args.width} and {args.heads} heads, "
        f"{args.batch_size} x {args.rows * args.columns} tokens, dropout "
        f"{args.dropout}, {'bfloat16' if args.amp else 'float32'}, "
        f"{found['fused'][0]['device']}; median of {args.runs}"
    )
    for what in WHAT:
        print(f"\n{what:<34}{'ms':>9}{'MiB':>9}")
        medians = {}
        for arm, name in ARMS.items():
            medians[arm] = {
                unit: statistics.median(result[what][unit] for result in found[arm])
                for unit in ("ms", "mib")
            }
            row = "".join(f"{value:>9.0f}" for value in medians[arm].values())
            print(f"{name:<34}{row}")
        shares = [medians["fused"][u] / medians["mmcv"][u] for u in ("ms", "mib")]
        print(f"{'share of the baseline':<34}{shares[0]:>9.2f}{shares[1]:>9.2f}")


if __name__ == "__main__":
    main()
