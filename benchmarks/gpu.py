"""What a bridge's training costs on one GPU, and where the time goes.

GPT-2-medium at 224 pixels, without a network: weights are drawn, images are noise.
Each part prints a table as soon as it is measured; what does not fit into memory is a
line of it, and so is what was not begun before ``--minutes`` were over. The file of
numbers and the page beside it are written after each part.

Baselines: transformers' ``GPT2Model`` in a plain loop (the same sizes, patch
embedding, head on the last token, loss, AdamW, clipping, dropout and bfloat16 autocast,
and nothing read from the GPU in a step); mmengine's and mmpretrain's own hooks, loss,
preprocessor and optimiser wrapper around our model; mmdet's encoder; mmengine's
checkpoint.

``--miniature`` runs the same code on small sizes, on a CPU too, where its times mean
nothing. A time is that of a step among others, without waiting between them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _gpu_machine import Machine, Row, read_trace, resident_mib
from _gpu_runs import (
    encoder_steps,
    noise,
    our_model,
    our_step,
    plain_step,
    runner_of,
)
from mmengine.hooks import CheckpointHook
from mmengine.logging import MMLogger
from torch import Tensor

FULL = dict(
    blocks=24, width=1024, heads=16, image=224, patch=16, batches=[128, 64, 256],
    steps=10, seconds=4.0, profiled=8, loaded=20, workers=[4, 8], first=5,
    detr=dict(width=768, heads=12, layers=4, rows=25, columns=38, batch_size=8),
)  # fmt: skip
MINIATURE = dict(
    blocks=2, width=64, heads=4, image=32, patch=8, batches=[2],
    steps=2, seconds=0.0, profiled=2, loaded=3, workers=[1], first=1,
    detr=dict(width=32, heads=4, layers=1, rows=3, columns=4, batch_size=2),
)  # fmt: skip


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="numbers")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="for all parts")
    parser.add_argument("--miniature", action="store_true", help="small sizes")
    parser.add_argument("--tmp", help="folder for checkpoints and images, 10 GB free")
    return parser.parse_args()


# --- parts: each returns rows ---------------------------------------------------------


def attempt(
    machine: Machine, rows: list[Row], names: Row, measure: Callable[[], Row]
) -> None:
    """Measure one row; what goes wrong is the row, and its memory is given back."""
    found = dict(failed="left out: the time is over")
    if time.monotonic() < machine.ends:
        machine.clean()
        try:
            found = measure()
        except Exception as error:  # whatever it is, the other rows are measured
            words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            memory = "out of memory" in words.lower() or "ALLOC_FAILED" in words
            found = dict(failed="out of memory" if memory else words)
        torch._dynamo.reset()
        machine.clean()
    rows.append(names | found)
    print(f"  {rows[-1]}", file=sys.stderr, flush=True)


def matrix_products(machine: Machine) -> list[Row]:
    """The rate of bfloat16 products of the model's own shapes."""
    width, batch = machine.sizes["width"], machine.sizes["batches"][0]
    high = batch * machine.tokens
    shapes = dict(qkv=(width, 3 * width), out=(width, width))
    shapes |= dict(up=(width, 4 * width), down=(4 * width, width))
    rows: list[Row] = []
    for name, (inner, wide) in shapes.items():

        def measure(inner: int = inner, wide: int = wide) -> Row:
            kind = dict(dtype=torch.bfloat16, device=machine.device)
            a, b = torch.randn(high, inner, **kind), torch.randn(inner, wide, **kind)
            ms = statistics.median(machine.time(lambda: a @ b))
            return dict(ms=ms, tera_operations_a_second=2e-9 * high * inner * wide / ms)

        attempt(machine, rows, dict(product=name, shape=[high, inner, wide]), measure)
    good = [row for row in rows if "ms" in row]
    if good:
        operations = sum(2 * math.prod(row["shape"]) for row in good)
        seconds = sum(row["ms"] for row in good) / 1e3
        machine.rate = operations / seconds
        rows.append(dict(product="all", tera_operations_a_second=machine.rate / 1e12))
    return rows


def steps(machine: Machine) -> list[Row]:
    """A training step in four ways."""
    arms = ("transformers", "ours", "ours in the Runner", "ours, compiled")
    plan = [
        (batch, dropout, arm)
        for dropout in (0.1, 0.0)
        for arm in arms
        # One compilation a batch size takes a minute.
        for batch in machine.sizes["batches"][: 1 if "compiled" in arm else None]
    ]
    rows: list[Row] = []
    for batch, dropout, arm in plan:

        def measure(
            batch: int = batch, dropout: float = dropout, arm: str = arm
        ) -> Row:
            if arm == "transformers":
                step = plain_step(machine, batch, dropout)
                return machine.row(machine.time(step), batch)
            model = our_model(machine, drop_rate=dropout)
            if arm == "ours in the Runner":
                count = machine.sizes["steps"]
                runner, clock = runner_of(machine, batch, count, model=model)
                runner.train()
                return machine.row(machine.between(clock.stamps), batch)
            if arm == "ours, compiled":
                # The compiler of CPU code takes minutes, and is not what is measured.
                backend = "inductor" if machine.on_gpu else "aot_eager"
                for block in model.backbone.language.blocks:
                    block.compile(fullgraph=True, dynamic=False, backend=backend)
            step, start = our_step(model, machine, batch), time.perf_counter()
            step()
            machine.wait()
            began = time.perf_counter() - start
            return machine.row(machine.time(step), batch, first_step_seconds=began)

        attempt(machine, rows, dict(arm=arm, dropout=dropout, batch=batch), measure)
    return rows


def waiting(machine: Machine) -> list[Row]:
    """How often the processor waits for the GPU, and how long the GPU is idle."""
    batch, count = machine.sizes["batches"][0], machine.sizes["profiled"]
    rows: list[Row] = []
    for plain in (True, False):

        def measure(plain: bool = plain) -> Row:
            trace = machine.folder / "trace.json"
            runner, _ = runner_of(machine, batch, count, plain, trace=trace)
            runner.train()
            found = read_trace(trace, count)
            trace.unlink()
            return found

        arm = "mmengine's and mmpretrain's own" if plain else "ours in the Runner"
        attempt(machine, rows, dict(arm=arm, batch=batch), measure)
    return rows


def loading(machine: Machine) -> list[Row]:
    """Waiting for images: JPEGs of 500 x 375 pixels in the shipped pipeline."""
    import cv2
    import numpy as np

    folder = machine.folder / "images"
    folder.mkdir(exist_ok=True)
    draw, files = np.random.default_rng(0), []
    for index in range(64):
        small = draw.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        files.append(str(folder / f"{index}.jpg"))
        cv2.imwrite(files[-1], cv2.resize(small, (500, 375)))
    batch, count = machine.sizes["batches"][0], machine.sizes["loaded"]
    rows: list[Row] = []
    for workers in machine.sizes["workers"]:

        def measure(workers: int = workers) -> Row:
            runner, clock = runner_of(
                machine, batch, count, files=files, workers=workers, warm=4
            )
            runner.train()
            row = machine.row(machine.between(clock.stamps), batch)
            waited = runner.message_hub.get_scalar("train/data_time").data[0][-count:]
            mean = float(waited.mean()) * 1e3
            return row | dict(waited_ms=mean, cores=os.cpu_count())

        attempt(machine, rows, dict(workers=workers, batch=batch), measure)
    return rows


def first_blocks(machine: Machine) -> list[Row]:
    """The first blocks trained, against all of them."""
    batch = machine.sizes["batches"][0]
    rows: list[Row] = []
    for which in ("all", f"first:{machine.sizes['first']}"):

        def measure(which: str = which) -> Row:
            model = our_model(machine, drop_rate=0.1, trainable_layers=which)
            return machine.row(machine.time(our_step(model, machine, batch)), batch)

        attempt(machine, rows, dict(trained=which, batch=batch), measure)
    return rows


def detr(machine: Machine) -> list[Row]:
    """DETR's encoder on a padded batch in bfloat16, on fused attention and mmcv's."""
    rows: list[Row] = []
    for kind, name in (("mmdet", "mmcv's attention"), ("ours", "fused attention")):
        for dropout in (0.1, 0.0):

            def measure(kind: str = kind, dropout: float = dropout) -> Row:
                train, infer = encoder_steps(machine, kind, dropout)
                ms = statistics.median(machine.time(train))
                peak = machine.peak_mib()
                infer_ms = statistics.median(machine.time(infer))
                return dict(training_ms=ms, inference_ms=infer_ms, peak_mib=peak)

            attempt(machine, rows, dict(arm=name, dropout=dropout), measure)
    return rows


def validation(machine: Machine) -> list[Row]:
    """A validation's forward pass, and how far its predictions are from float32's."""
    batch = machine.sizes["batches"][-1]
    images, _ = noise(machine, batch)
    model = our_model(machine).eval()
    found: dict[str, Tensor] = {}
    rows: list[Row] = []
    for kind in ("float32", "TensorFloat32", "bfloat16"):

        @torch.no_grad()
        def measure(kind: str = kind) -> Row:
            before = torch.get_float32_matmul_precision()
            if machine.on_gpu:
                high = "high" if kind == "TensorFloat32" else "highest"
                torch.set_float32_matmul_precision(high)
            try:
                low = torch.autocast(
                    machine.device, torch.bfloat16, enabled=kind == "bfloat16"
                )
                with low:
                    times = machine.time(lambda: model(images))
                    scores = model.head(model.extract_feat(images))
            finally:
                torch.set_float32_matmul_precision(before)
            scores = scores.float().softmax(1)
            found[kind] = scores
            exact = found.get("float32", torch.full_like(scores, math.nan))
            equal = scores.argmax(1) == exact.argmax(1)
            ms = statistics.median(times)
            return dict(
                ms=ms,
                images_a_second=1e3 * batch / ms,
                equal_predictions=float(equal.float().mean()),
                largest_difference=float((scores - exact).abs().max()),
                peak_mib=machine.peak_mib(),
            )  # fmt: skip

        attempt(machine, rows, dict(precision=kind, batch=batch), measure)
    return rows


def checkpoint(machine: Machine) -> list[Row]:
    """Seconds of a checkpoint with AdamW's state, and the memory that it takes."""
    rows: list[Row] = []
    for kind in ("lbbt_mm.AtomicCheckpointHook", "CheckpointHook"):

        def measure(kind: str = kind) -> Row:
            once = dict(type=kind, interval=-1, save_last=False)
            runner, _ = runner_of(machine, 2, 2, checkpoint=once, warm=1)
            runner.train()
            machine.wait()
            (hook,) = (h for h in runner.hooks if isinstance(h, CheckpointHook))
            hook.interval = 1
            peak_is_new = False
            with contextlib.suppress(OSError):  # on Linux: it starts from here
                Path("/proc/self/clear_refs").write_text("5")
                peak_is_new = True
            before, start = resident_mib("VmRSS"), time.perf_counter()
            hook.after_train_epoch(runner)
            seconds, peak = time.perf_counter() - start, resident_mib("VmHWM")
            (path,) = Path(runner.work_dir).glob("epoch_*.pth")
            size = path.stat().st_size / 2**20
            path.unlink()
            more = peak - before if peak_is_new and peak and before else None
            return dict(seconds=seconds, file_mib=size, more_host_mib=more)

        attempt(machine, rows, dict(hook=kind.removeprefix("lbbt_mm.")), measure)
    return rows


PARTS: dict[str, Callable[[Machine], list[Row]]] = {
    part.__name__: part
    for part in (
        matrix_products,
        steps,
        waiting,
        first_blocks,
        validation,
        loading,
        detr,
        checkpoint,
    )  # fmt: skip
}


# --- output ---------------------------------------------------------------------------


def table(title: str, rows: list[Row]) -> str:
    """A part as Markdown."""
    heads = list(dict.fromkeys(key for row in rows for key in row))
    lines = [" | ".join(head.replace("_", " ") for head in heads)]
    lines.append(" | ".join("---" for _ in heads))
    lines += [" | ".join(written(row.get(head)) for head in heads) for row in rows]
    summary = (PARTS[title].__doc__ or "").splitlines()[0]
    text = "\n".join(f"| {line} |" for line in lines)
    return f"## {title.replace('_', ' ')}\n\n{summary}\n\n{text}\n"


def written(value: Any) -> str:
    """A cell."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def main() -> None:
    """Measure, print and write."""
    args = parse_args()
    MMLogger.get_instance("gpu", log_level="ERROR")
    began = time.monotonic()
    name = platform.processor() or platform.machine()
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    sizes = MINIATURE if args.miniature else FULL
    results: dict[str, Any] = dict(
        machine=name, torch=torch.__version__, cuda=torch.version.cuda, sizes=sizes
    )
    page = [f"# {name}, torch {torch.__version__}\n"]
    own = tempfile.TemporaryDirectory(dir=args.tmp, ignore_cleanup_errors=True)
    with own as folder:
        machine = Machine(sizes, args.minutes, Path(folder))
        for part in PARTS:
            if part not in args.parts:
                continue
            print(part, file=sys.stderr, flush=True)
            try:
                rows = PARTS[part](machine)
            except Exception as error:  # a library that is missing: the rest goes on
                rows = [dict(failed=f"{type(error).__name__}: {error}")]
            machine.clean()
            results[part] = rows
            results["seconds"] = time.monotonic() - began
            page.append(table(part, rows))
            print(page[-1], flush=True)
            args.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
            text = "\n".join(page)
            args.out.with_suffix(".md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
