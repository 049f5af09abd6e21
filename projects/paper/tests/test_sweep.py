"""sweep.py: plans, what is run, what is not run twice, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from forked import ForkedScript

pytestmark = pytest.mark.slow

SWEEP = "projects/paper/sweep.py"
PLAN = """
initialisations = dict(language=dict(config="tiny.py"),
            scratch=dict(config="tiny.py", options={{"model.head.topk": (1,)}}))
variants = {{"some images": {{}}}}
options = {{"work_dir": "of-{{initialisation}}-{{seed}}"}}
grid = dict(lr=dict(keys=["optim_wrapper.optimizer.lr"], values=[0.1, 0.2]))
seeds = {seeds}
probe = dict(when=["before", "after"], options={{"train_dataloader.batch_size": 2}})
selection = dict(over=["lr"], by="scratch")
thresholds = [50]
"""


@pytest.fixture
def plan(project):
    path = project.root / "plan.py"
    path.write_text(PLAN.format(seeds=[0]))
    return path


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch):
    """Stand in for the tools, which have tests of their own; returns what ran."""
    ran: list[list[str]] = []

    def run_tool(command, log, progress, env=None):
        ran.append(command)
        name, options = Path(command[0]).name, command[1:]
        home = Path(options[options.index("--work-dir") + 1])
        if name == "train.py":
            (home / "epoch_1.pth").touch()
            (home / "last_checkpoint").write_text("epoch_1.pth")
            scalars = home / "1" / "vis_data" / "scalars.json"
            scalars.parent.mkdir(parents=True, exist_ok=True)
            lr = 100 * float("lr0.2" in str(home)) + 20
            scalars.write_text(json.dumps(dict(epoch=1, train_acc=lr)) + "\n")
        elif name == "linear_probe.py":
            out = Path(options[options.index("--out") + 1])
            out.write_text(json.dumps(dict(last_test_top1=42.0, test_top1=[1.0])))
        return ""

    def install(module) -> list[list[str]]:
        from paper import one_run

        monkeypatch.setattr(one_run, "run_tool", run_tool)
        return ran

    return install


def test_a_plan_of_0_1_0_has_arms(plan: Path) -> None:
    from paper.plan import read_plan

    now = read_plan(plan)
    old = plan.read_text().replace("initialisations =", "arms =")
    plan.write_text(old.replace("{initialisation}", "{arm}"))
    with pytest.warns(FutureWarning, match="`arms` is `initialisations` now"):
        then = read_plan(plan)
    assert [t.settings() for t in then.tasks()] == [t.settings() for t in now.tasks()]


def test_runs_what_the_plan_says_and_nothing_twice(
    tool, plan: Path, faked, capsys, project
) -> None:
    out = project.root / "log.json"
    module = tool(SWEEP, plan, "--device", "cpu", "--jobs", "2", "--out", out)
    ran = faked(module)
    module.main()
    # Both initialisations at two rates are trained and probed, and both unbridged.
    names = [Path(command[0]).stem for command in ran]
    assert (names.count("train"), names.count("linear_probe")) == (4, 6)
    said = capsys.readouterr().out
    assert "lr chosen by scratch alone" in said
    record = json.loads(out.read_text())
    assert [run["metrics"]["probe_before"] for run in record["runs"]] == [42.0] * 4
    assert all("test_top1" not in run["probe"] for run in record["runs"])
    folder = project.root / "work_dirs/sweeps/plan"
    assert not list(folder.rglob("*.pth"))

    ran.clear()
    module.main()
    assert not ran
    # Another rate is another run of the model that was probed before training.
    rates = plan.read_text().replace("[0.1, 0.2]", "[0.3, 0.4]")
    plan.write_text(rates)
    module.main()
    names = sorted(Path(command[0]).stem for command in ran)
    assert names == 4 * ["linear_probe"] + 4 * ["train"]
    ran.clear()
    # A longer plan runs what is new.
    plan.write_text(PLAN.format(seeds=[0, 1]))
    module.main()
    assert [Path(command[0]).stem for command in ran].count("train") == 4
    assert all("_s1" in " ".join(command) for command in ran)
    config = (folder / "some-images_scratch_lr0.2_s1" / "config.py").read_text()
    assert "lr=0.2" in config
    assert "of-scratch-1" in config


DENSE = """
default_scope = "mmseg"
model = dict(backbone=dict(type="ResNet"))
train_dataloader = test_dataloader = dict(dataset=dict())
train_cfg = dict(by_epoch=False, max_iters=20)
"""


def test_a_segmenter_is_counted_in_iterations(
    tool, project, monkeypatch, capsys
) -> None:
    (project.root / "dense.py").write_text(DENSE)
    plan = project.root / "plan.py"
    plan.write_text(
        "initialisations = dict(language=dict(config='dense.py'))\n"
        "tta = constant = keep_checkpoints = True\n"
    )
    ran = []

    def run_tool(command, log, progress, env=None):
        name, options = Path(command[0]).name, command[1:]
        ran.append((name, "--tta" in options))
        if name == "train.py":
            home = Path(options[options.index("--work-dir") + 1])
            (home / "iter_20.pth").touch()
            (home / "last_checkpoint").write_text("iter_20.pth")
            scalars = home / "1" / "vis_data" / "scalars.json"
            scalars.parent.mkdir(parents=True)
            lines = [
                dict(loss=3.0, iter=10, step=10, images_per_second=7.5),
                dict(mIoU=11.0, mAcc=20.0, step=10),
                dict(mIoU=33.0, mAcc=40.0, step=20),
            ]
            scalars.write_text("".join(json.dumps(line) + "\n" for line in lines))
        else:
            score = 35.0 if name == "test.py" else 6.5
            Path(options[options.index("--out") + 1]).write_text(f'{{"mIoU": {score}}}')
        return ""

    module = tool(SWEEP, plan, "--device", "cpu")
    from paper import one_run

    monkeypatch.setattr(one_run, "run_tool", run_tool)
    module.main()
    once = [("constant_baseline.py", False), ("train.py", False), ("test.py", True)]
    assert ran == once
    said = capsys.readouterr().out
    assert "mIoU, several scales" in said
    assert "the same answer for every image" in said.splitlines()[-3]
    folder = project.root / "work_dirs/sweeps/plan"
    record = json.loads((folder / "results.json").read_text())
    (run,) = record["runs"]
    assert run["metrics"] == dict(miou=33.0, miou_tta=35.0)
    assert run["curves"]["miou"] == {"10": 11.0, "20": 33.0}
    assert run["images_per_second"] == 7.5
    assert record["constant"] == dict(miou=6.5)
    assert list(folder.rglob("*.pth")), "they were to be kept"
    module.main()
    assert ran == once


@pytest.mark.parametrize("content", ["", "[1]", '{"curves": {"a": 3}}', '{"name": 1}'])
@pytest.mark.parametrize("name", ["result.json", "settings.json"])
def test_a_damaged_record_is_one_sentence(
    tool, plan: Path, faked, project, name, content
) -> None:
    module = tool(SWEEP, plan, "--device", "cpu", "--only", "*scratch*lr0.1*")
    faked(module)
    module.main()
    (path, *_) = sorted((project.root / "work_dirs").rglob(f"some-images*/{name}"))
    path.write_text(
        content if name == "result.json" else f'{{"config": {content or 1}}}'
    )
    with pytest.raises(SystemExit, match=f"{name} is left out: .*Delete"):
        module.main()


def test_other_settings_under_the_same_name_are_refused(
    tool, plan: Path, faked, project
) -> None:
    module = tool(SWEEP, plan, "--device", "cpu")
    ran = faked(module)
    module.main()
    ran.clear()
    plan.write_text(PLAN.format(seeds=[0]).replace("batch_size", "num_workers"))
    with pytest.raises(SystemExit, match="holds a run with other settings"):
        module.main()
    assert not ran


def test_a_failing_run_does_not_stop_the_others(
    tool, plan: Path, faked, monkeypatch
) -> None:
    module = tool(SWEEP, plan, "--device", "cpu")
    ran = faked(module)
    from _subtask import SubtaskError
    from paper import one_run

    well = one_run.run_tool

    def run_tool(command, *args):
        if "train.py" in command[0] and "scratch_lr0.1" in command[1]:
            raise SubtaskError("the disk is full")
        return well(command, *args)

    monkeypatch.setattr(one_run, "run_tool", run_tool)
    with pytest.raises(SystemExit, match="(?s)1 run.*scratch_lr0.1.*disk is full"):
        module.main()
    monkeypatch.setattr(one_run, "run_tool", well)
    ran.clear()
    module.main()  # only the one that failed
    assert [Path(command[0]).stem for command in ran].count("train") == 1


def test_a_second_sweep_waits_outside(tool, plan: Path, faked, project) -> None:
    module = tool(SWEEP, plan, "--device", "cpu")
    faked(module)
    folder = project.root / "work_dirs/sweeps/plan"
    code = (
        "import sys, time; from lbbt_mm.folder_lock import FolderLock; "
        "lock = FolderLock(sys.argv[1]); print('locked', flush=True); time.sleep(600)"
    )
    other = ForkedScript(["-c", code, folder], project.root)
    assert other.stdout.readline() == "locked\n"
    with pytest.raises(SystemExit, match=f"another sweep: process {other.pid} on"):
        module.main()
    other.kill()
    other.wait()
    module.main()


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (
            "initialisations =",
            "initialisation =",
            "initialisation is unknown; expected initialisations",
        ),
        ('"tiny.py"', '"tony.py"', "tony.py of initialisation language is missing"),
        (
            'by="scratch"',
            'by="sketch"',
            "by must be 'each' or one of the initialisations",
        ),
        ('over=["lr"]', 'over=["wd"]', "names .'wd'., not in the grid"),
        ("values=[0.1, 0.2]", "values=[]", "needs keys and values"),
        ('"before", "after"', '"never"', "must hold 'before', 'after'"),
        ('over=["lr"]', 'metric="test"', "measured on the test images"),
    ],
)
def test_a_slip_in_the_plan_is_named(
    tool, plan: Path, before: str, after: str, sentence: str
) -> None:
    plan.write_text(plan.read_text().replace(before, after, 1))
    with pytest.raises(SystemExit, match=sentence):
        tool(SWEEP, plan).main()


def test_a_missing_plan_and_an_empty_choice_are_named(tool, plan: Path) -> None:
    with pytest.raises(SystemExit, match="nowhere.py does not exist"):
        tool(SWEEP, "nowhere.py").main()
    with pytest.raises(SystemExit, match="no run of .* is named like 'x'"):
        tool(SWEEP, plan, "--only", "x").main()


REPO = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    "path",
    sorted(REPO.glob("projects/*/configs/sweeps/*.py")),
    ids=lambda path: path.stem,
)
def test_shipped_plans_can_be_carried_out(tool, path: Path) -> None:
    tool(SWEEP, path)
    from paper.plan import read_plan

    plan = read_plan(path)
    # Reading configs is slow; seeds and points of a grid differ in numbers only.
    grid = {
        name: dict(axis, values=axis["values"][-1:]) for name, axis in plan.grid.items()
    }
    tasks = replace(plan, seeds=plan.seeds[:1], grid=grid).tasks()
    assert len({task.name for task in tasks}) == len(tasks)
    known = tasks[-1].build_config()  # the options fit the config
    length = known.train_cfg.get("max_epochs") or known.train_cfg.max_iters
    assert length >= 2
