"""How every row is measured: arms take turns, processor seconds beside wall seconds.

A `Case` has a baseline and our way of doing the same. Both are built once in this
process and take turns; what needs a process of its own (peak memory) or another
checkout (``--before``) is a `Child` with the same interface.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("LBBT_BENCHMARK_ROOT", HERE.parent))
"""The checkout whose lbbt_mm, tools and configs are measured."""
sys.path.insert(0, str(ROOT))


@dataclass
class Spent:
    """What one run of an arm cost, in seconds and MiB, and the number it returned."""

    cpu: float
    wall: float
    mib: float | None = None
    value: float | None = None


@dataclass
class Case:
    """One line of the table.

    Attributes:
        name: What is done, at which size.
        baseline: What it is compared with.
        goal: ``'>= 1.8'`` times as fast as the baseline, ``'<= 1.3'`` of its time, or
            ``'<= 5 s'``; may be empty.
        arms: Builders of the ``'baseline'`` and of ``'ours'``: each returns the step.
        before: Goal against another checkout, ``'>= 2'``.
        memory: Goal of our peak memory as a share of the baseline's, ``'<= 0.5'``.
        calls: Above 0, every measurement is a fresh process with as many steps; the
            first one warms up unless it is the only one.
        wall: Whether the goal is about wall seconds: several processes or threads work.
        factor: How much of our work one run of the baseline does.
        products: Multiplications and additions of a step's matrix products.
        matrix: Rows and columns of the left one of the step's products, and its dtype.
        tolerance: Of the numbers that the arms return; None if they do other things.
        said: Arm -> words on it, such as its accuracy, filled while it runs.
    """

    name: str
    baseline: str
    goal: str
    arms: Mapping[str, Callable[[], Callable[[], Any]]]
    before: str = ""
    memory: str = ""
    calls: int = 0
    wall: bool = False
    factor: float = 1
    products: float = 0
    matrix: tuple[int, int, str] = (0, 0, "bfloat16")
    tolerance: float | None = None
    said: dict[str, str] = field(default_factory=dict)


def processor_seconds() -> float:
    """Processor seconds of this process and of its children that have ended."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak_mib() -> float:
    """Peak resident memory of this process; getrusage's begins with its parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def timed(step: Callable[[], Any]) -> Spent:
    """Run a step; one that measures itself returns a `Spent`."""
    cpu, wall = processor_seconds(), time.perf_counter()
    value = step()
    if isinstance(value, Spent):
        return value
    cpu, wall = processor_seconds() - cpu, time.perf_counter() - wall
    return Spent(cpu, wall, value=None if value is None else float(value))


def matmul_rate(rows: int, columns: int, dtype: str, seconds: float = 0.3) -> float:
    """Multiply matrices of a step's size; operations a processor second."""
    import torch

    a = torch.randn(rows, columns, dtype=getattr(torch, dtype))
    b = torch.randn(columns, 4 * columns, dtype=a.dtype)
    a @ b
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        a @ b
        count += 1
    return count * 8 * rows * columns**2 / (time.process_time() - start)


def agree(name: str, ours: float, baseline: float, tolerance: float) -> None:
    """Stop a comparison of different things."""
    if not abs(ours - baseline) <= tolerance * abs(baseline):
        raise SystemExit(f"{name}: ours returns {ours}, the baseline {baseline}.")


class Child:
    """An arm in a process of its own, which runs a step whenever it is told to.

    Args:
        row: Name of the row.
        case: Name of the case.
        arm: Name of the arm.
        root: Checkout whose ``lbbt_mm`` it imports.
    """

    def __init__(self, row: str, case: str, arm: str, root: Path = ROOT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "run.py"), "--serve", row, case, arm],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "LBBT_BENCHMARK_ROOT": str(root)},
            text=True,
        )

    def __call__(self) -> Spent:
        """Run one step there."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(file=self.process.stdin, flush=True)
        said = self.process.stdout.readline()
        if not said:
            raise SystemExit("The process of an arm failed; see above.")
        return Spent(**json.loads(said))

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(case: Case, arm: str) -> None:
    """Be the other end of a `Child`."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    step = case.arms[arm]()
    before = peak_mib()
    for _ in sys.stdin:
        spent = [timed(step) for _ in range(max(case.calls, 1))]
        spent = spent[1:] or spent
        middle = sorted(spent, key=lambda one: one.cpu)[len(spent) // 2]
        middle.mib = peak_mib() - before
        print(json.dumps(asdict(middle)), file=answers, flush=True)


@contextmanager
def built(
    row: str, case: Case, before: Path | None
) -> Iterator[dict[str, Callable[[], Spent]]]:
    """Build the arms of a case; the names are 'baseline', 'ours' and 'before'."""

    def fresh(arm: str, root: Path = ROOT) -> Spent:
        with closing(Child(row, case.name, arm, root)) as child:
            return child()

    if case.calls:
        arms: dict[str, Any] = {arm: lambda arm=arm: fresh(arm) for arm in case.arms}
        if before:
            arms["before"] = lambda: fresh("ours", before)
        yield arms
        return
    arms = {arm: build() for arm, build in case.arms.items()}
    if not before:
        yield {arm: lambda step=step: timed(step) for arm, step in arms.items()}
        return
    with closing(Child(row, case.name, "ours", before)) as child:
        steps = {arm: lambda step=step: timed(step) for arm, step in arms.items()}
        yield dict(steps, before=child)


def measure(row: str, case: Case, rounds: int, before: Path | None = None) -> dict:
    """Measure one case: after one round to warm up, the arms take turns.

    Args:
        row: Its row.
        case: The case.
        rounds: How often each arm runs.
        before: Another checkout, to measure ours in.

    Returns:
        Plain data: medians, smallest and largest, for the table.
    """
    spent: dict[str, list[Spent]] = {}
    rates = []
    with built(row, case, before) as arms:
        for turn in range(rounds + (not case.calls)):
            if case.products:
                rates.append(matmul_rate(*case.matrix))
            for arm, step in arms.items():
                spent.setdefault(arm, []).append(step())
            if case.tolerance is not None and not turn:
                values = [spent[arm][0].value for arm in ("ours", "baseline")]
                agree(case.name, *values, case.tolerance)
    case.arms = {}  # so that its models do not stay in memory beside the next one's
    if not case.calls:
        spent = {arm: found[1:] for arm, found in spent.items()}
    result: dict[str, Any] = dict(
        row=row,
        case=case.name,
        baseline=case.baseline,
        goal=case.goal,
        rounds=rounds,
        clock="wall" if case.wall else "cpu",
        seconds={
            arm: {
                clock: spread([getattr(one, clock) for one in found])
                for clock in ("cpu", "wall")
            }
            for arm, found in spent.items()
        },
        said=case.said,
    )
    for clock in ("cpu", "wall"):
        result[f"ratio_{clock}"] = ratio(case.goal, spent, "baseline", clock, case)
    if before:
        result["before"] = ratio(">=", spent, "before", result["clock"])
        result["before_goal"] = case.before
    if rates:
        rate = statistics.median(rates)
        result["matmul_rate"] = {case.matrix[-1]: rate}
        result["share"] = {
            arm: case.products / found["cpu"][0] / rate
            for arm, found in result["seconds"].items()
        }
    if case.calls:
        result["mib"] = {
            arm: spread([one.mib or 0 for one in found]) for arm, found in spent.items()
        }
        result["memory_goal"] = case.memory
    return result


def ratio(
    goal: str, spent: dict, other: str, clock: str, case: Case | None = None
) -> list[float]:
    """Compare each of our runs with the other arm's of the same round.

    Returns:
        Median, smallest and largest: our share for ``<=``, otherwise times as fast.
    """
    shares = []
    for ours, theirs in zip(spent["ours"], spent[other], strict=True):
        share = getattr(ours, clock) / getattr(theirs, clock)
        shares.append(share / (case.factor if case else 1))
    return spread(shares if "<" in goal else [1 / share for share in shares])


def spread(numbers: list[float]) -> list[float]:
    """Median, smallest and largest."""
    return [statistics.median(numbers), min(numbers), max(numbers)]
