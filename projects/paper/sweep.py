"""Run a grid of experiments over initialisations, and lay out what came of it.

A plan (configs/sweeps/*.py) names initialisations, variants, a grid, seeds and how
hyper-parameters are chosen; projects/paper/sweeps.md explains it. Each run is
tools/train.py on a config that lies in its folder, with linear probes before and after.
What is finished is not run again: call the same command after a stop, or with a longer
plan.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import queue
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import _launch  # noqa: E402

_launch.require_torch()

from _subtask import (  # noqa: E402
    Progress,
    SubtaskError,
    is_stopped,
    stop_all,
    stopping_together,
)
from paper.choice import chosen_table, grid_table  # noqa: E402
from paper.one_run import (  # noqa: E402
    finish_record,
    read_constant,
    run_task,
    score_constant,
)
from paper.plan import Plan, PlanError, Task, read_plan  # noqa: E402

from lbbt_mm.runs import shapes  # noqa: E402
from lbbt_mm.runs.run import Run, run_from_sweep  # noqa: E402
from lbbt_mm.version import __version__  # noqa: E402


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(__doc__)
    parser.add_argument("plan", help="a file of configs/sweeps/")
    parser.add_argument(
        "--work-dir",
        type=Path,
        help="folder of all runs; default: work_dirs/sweeps/NAME_OF_THE_PLAN",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="runs at once, default: %(default)s; with GPUs, one GPU each",
    )
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        help="only runs whose name fits, for example '*_language_*'",
    )
    parser.add_argument(
        "--list", action="store_true", help="show the runs and what is done; run none"
    )
    parser.add_argument(
        "--table", action="store_true", help="show what is finished; run none"
    )
    parser.add_argument("--out", type=Path, help="copy of the results, one JSON file")
    parser.add_argument("--device", choices=["cpu", "cuda"], help="default: a GPU")
    args = parser.parse_args()
    if args.jobs < 1:
        parser.error(f"--jobs must be at least 1; got {args.jobs}")
    return args


def lock_folder(folder: Path) -> Any:
    """Keep a second sweep out of the folder; the lock dies with this process."""
    from lbbt_mm.folder_lock import FolderInUseError, FolderLock

    _launch.check_work_dir(str(folder))
    try:
        return FolderLock(folder)
    except FolderInUseError as error:
        _launch.fail(f"another sweep: {error}")


def job_environment(job: int, jobs: int, device: str | None) -> dict[str, str]:
    """Share the machine: a GPU for each job, or the cores in equal parts."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = visible.split(",") if visible else list(range(torch.cuda.device_count()))
        return {"CUDA_VISIBLE_DEVICES": str(gpus[job % len(gpus)])}
    # Busy pools of several processes on the same cores slow each other manyfold.
    threads = max(1, len(os.sched_getaffinity(0)) // jobs)
    return {"OMP_NUM_THREADS": str(threads)}


def run_all(tasks: list[Task], args: argparse.Namespace, folder: Path) -> list[str]:
    """Run what is not finished, several at once.

    Returns:
        What went wrong, one sentence a run.
    """
    waiting: queue.SimpleQueue = queue.SimpleQueue()
    todo = [task for task in tasks if not task.is_done(folder)]
    for number, task in enumerate(todo, 1):
        waiting.put((number, task))
    failures: list[str] = []

    def work(job: int) -> None:
        env = job_environment(job, args.jobs, args.device)
        while True:
            try:
                number, task = waiting.get_nowait()
            except queue.Empty:
                return
            if is_stopped():
                return
            title = f"[{number}/{len(todo)}] {task.name}"
            progress = Progress(title, one_line=args.jobs == 1)
            try:
                progress.close(run_task(task, folder, progress, env, args.device))
            except (SubtaskError, OSError) as error:
                failures.append(f"{task.name}: {error}")

    workers = [threading.Thread(target=work, args=(job,)) for job in range(args.jobs)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    except (KeyboardInterrupt, SystemExit):
        stop_all()  # or Python would wait for the threads
        raise
    return failures


def collect(plan: Plan, tasks: list[Task], folder: Path) -> list[dict[str, Any]]:
    """Read the records of all finished runs of a plan."""
    records = []
    for task in tasks:
        if task.kind == "run" and task.is_done(folder):
            records.append(finish_record(task, folder))
    return records


def show(plan: Plan, runs: list[Run], constant: dict[str, float] | None) -> None:
    """Print the tables."""
    table = chosen_table(runs, plan.selection, plan.thresholds, constant=constant)
    print(f"\n{table.to_text()}")
    if plan.selection.over:
        for metric in plan.grid_metrics:
            table = grid_table(runs, plan.selection, metric)
            print(f"\n{table.to_text()}")


def main() -> None:
    """Run the sweep."""
    args = parse_args()
    try:
        plan = read_plan(Path(args.plan))
    except PlanError as error:
        _launch.fail(str(error))
    folder = args.work_dir or Path("work_dirs/sweeps") / plan.name
    tasks = plan.tasks()
    if args.only:
        tasks = [task for task in tasks if fnmatch.fnmatch(task.name, args.only)]
    if not tasks:
        _launch.fail(f"no run of {args.plan} is named like {args.only!r}; see --list.")
    if args.list:
        for task in tasks:
            print(f"{'done' if task.is_done(folder) else '    '}  {task.name}")
        return
    failures = []
    if not args.table:
        lock = lock_folder(folder)
        try:
            for task in tasks:
                task.check_folder(folder)
            if plan.constant:
                score_constant(tasks[0], folder, args.device)
        except (PlanError, SubtaskError) as error:
            _launch.fail(str(error))
        failures = run_all(tasks, args, folder)
        lock.release()
    try:
        records = collect(plan, plan.tasks(), folder)
        constant = read_constant(folder)
    except ValueError as error:
        _launch.fail(f"{error} Delete it, and call the same command again.")
    if not records:
        _launch.fail("\n".join([f"{folder} holds no finished run.", *failures]))
    results = folder / "results.json"
    checked = [shapes.SWEEP_RUN(record, record["name"]) for record in records]
    show(plan, [run_from_sweep(one, results) for one in checked], constant)
    result = dict(plan=args.plan, name=plan.name, lbbt_mm=__version__, runs=records)
    if constant:
        result["constant"] = constant
    text = json.dumps(result, indent=1) + "\n"
    for path in filter(None, (results, args.out)):
        _launch.write_whole(path, text)
        print(f"Written to {path}")
    if failures:
        _launch.fail("\n".join([f"{len(failures)} run(s) failed:", *failures]))


if __name__ == "__main__":
    with stopping_together():
        main()
