"""How trainings begin and end: signals, parents, work folders, checkpoints, disks."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time

import pytest
from forked import ForkedScript

pytestmark = pytest.mark.slow

WAITING = """
import os, time
from lbbt_mm.hooks import TerminationHook
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module(force=True)
class WaitForSignal(Hook):
    '''Says once that it trains, and goes on when a signal has come.'''
    told = False
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter < 1 or self.told or not os.environ.get("TOLD"):
            return
        self.told = True
        (listening,) = (h for h in runner.hooks if isinstance(h, TerminationHook))
        with open(os.environ["TOLD"], "a") as file:
            file.write(f"{os.getpid()}\\n")
        while not listening._received:
            time.sleep(0.05)
"""
CONFIG = """
_base_ = 'tiny.py'
custom_imports = dict(imports=['waiting'])
train_cfg = dict(max_epochs=3)
default_hooks = dict(checkpoint=dict(type='lbbt_mm.AtomicCheckpointHook'))
custom_hooks = [dict(type='lbbt_mm.RandomStateHook'), dict(type='WaitForSignal')]
"""


@pytest.fixture
def started(project):
    """Start a tool in a process of its own; ``wait()`` until it trains."""
    (project.root / "waiting.py").write_text(WAITING)
    config = project.root / "waits.py"
    config.write_text(CONFIG)
    told = project.root / "told.txt"
    path = os.pathsep.join([str(project.root), str(project.repo)])
    running = []

    def start(*command):
        env = os.environ | dict(PYTHONPATH=path, TOLD=str(told), OMP_NUM_THREADS="1")
        process = ForkedScript(command, project.root, env)
        running.append(process)

        def wait():
            while not (told.exists() and told.read_text().endswith("\n")):
                assert process.poll() is None, process.stdout.read()
                time.sleep(0.05)
            pid = int(told.read_text().split()[-1])
            told.unlink()
            return pid

        return process, wait

    start.config = config
    yield start
    for process in running:
        process.kill()
        process.wait()


def training(started, project):
    """Start tools/train.py, and wait until it trains."""
    process, wait = started(
        project.tools / "train.py", started.config, "--work-dir", project.work_dir,
        "--device", "cpu",
    )  # fmt: skip
    wait()
    return process


def test_sigterm_writes_a_checkpoint_and_says_so(started, project):
    process = training(started, project)
    process.terminate()
    said, _ = process.communicate()
    assert process.returncode == 143, said
    path = project.work_dir / "iter_2.pth"
    assert f"ended by SIGTERM after iteration 2; {path} is complete: go on" in said
    assert path.is_file() and "Traceback" not in said


def test_sigterm_writes_a_checkpoint_when_nobody_listens(started, project):
    process = training(started, project)
    process.stdout.close()
    process.terminate()
    process.wait()
    assert (project.work_dir / "iter_2.pth").is_file()


PLAN = """
initialisations = dict(language=dict(config="waits.py"))
variants = {"v": {}}
seeds = [0]
train = True
"""


def test_a_killed_sweep_ends_its_training_and_goes_on(started, project):
    plan = project.root / "plan.py"
    plan.write_text(PLAN)
    command = [project.repo / "projects/paper/sweep.py", plan, "--device", "cpu"]
    sweep, wait = started(*command)
    training = wait()
    sweep.send_signal(signal.SIGKILL)
    sweep.wait()
    again, wait = started(*command)  # while the first training still writes
    assert wait() != training
    with pytest.raises(ProcessLookupError):
        os.kill(training, 0)
    # And a sweep that is asked to end takes its training along.
    again.terminate()
    said, _ = again.communicate()
    log = next(project.root.glob("work_dirs/sweeps/plan/*/train.log")).read_text()
    # The first had nobody left to talk to, and wrote a checkpoint nevertheless.
    assert log.count("starting from the start") == 1, log
    assert again.returncode == 143, said
    assert "sweep.py: ended by SIGTERM, and so was all that it had started" in said
    assert "Traceback" not in said


def test_a_work_folder_that_is_none(project, failing):
    project.work_dir.write_text("a file")
    for tool in ("train.py", "test.py", "linear_probe.py"):
        more = [__file__] if tool == "test.py" else []
        assert failing(tool, *more).endswith(
            f"the work folder {project.work_dir} cannot be written (it is a file): "
            "name another one with --work-dir."
        )
    said = failing("analyze.py", "--only", "outliers")
    assert said.endswith("(Not a directory): name another one with --work-dir.")
    assert project.work_dir.read_text() == "a file"


def test_a_place_for_metrics_that_is_none_is_said_at_once(project, failing, capfd):
    said = failing("test.py", __file__, "--out", project.config / "metrics.json")
    assert said.endswith(
        f"the output folder {project.config} cannot be written (it is a file): name "
        "another one with --out."
    )


def test_a_disk_that_is_read_only(project, failing, monkeypatch):
    def read_only(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert "cannot be written (Read-only file system)" in failing("train.py")


def test_checkpoints_that_cannot_be_read(project, failing, monkeypatch, tmp_path):
    empty = tmp_path / "empty.pth"
    empty.touch()
    for path, words in (
        (tmp_path, "is a folder: name a file in it"),
        (empty, "is empty: writing it was interrupted"),
        (tmp_path / "none.pth", "does not exist (from"),
    ):
        assert f"the checkpoint {path} {words}" in failing("test.py", path)
        assert f"the checkpoint {path} {words}" in failing("train.py", "--resume", path)
        option = ("--cfg-options", f"load_from={path}")
        assert f"the checkpoint {path} {words}" in failing("train.py", *option)

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "epoch_1.pth")

    monkeypatch.setattr("lbbt_mm.hooks.atomic_checkpoint.is_complete", refuse)
    project.work_dir.mkdir()
    (project.work_dir / "epoch_1.pth").touch()
    words = "the checkpoint epoch_1.pth cannot be read (Permission denied)."
    assert failing("train.py", "--resume").endswith(words)


def test_a_disk_that_fills_up_while_logging(project, failing, monkeypatch):
    def full(self, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(
        "mmengine.visualization.vis_backend.LocalVisBackend._dump", full
    )
    message = failing("train.py")
    assert f"{project.work_dir} could not be written (No space left" in message
    assert message.endswith("Free some space and go on with --resume.")


def test_the_log_says_once_that_it_is_full(tool, project, capsys, tmp_path):
    lifetime = tool("train.py", project.config)._lifetime
    logger = logging.getLogger("full")
    handler = logging.FileHandler(tmp_path / "a.log")
    logger.addHandler(handler)
    lifetime.say_once_that_the_log_is_full(logger)

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        def flush(self):
            pass

    handler.stream.close()
    handler.stream = Full()
    logger.error("1")
    logger.error("2")
    assert capsys.readouterr().err.count("cannot be written (No space left") == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_words_outside_of_a_training(tool, project, capsys, name):
    lifetime = tool("train.py", project.config)._lifetime
    number = getattr(signal, name)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught, lifetime.last_words():
        os.kill(os.getpid(), number)
        while True:  # Python sees it between two lines
            pass
    assert caught.value.code == 128 + number
    assert f"train.py: ended by {name}; every file" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_two_trainings_in_one_folder(project, failing):
    code = (
        "import sys, time; from lbbt_mm.folder_lock import FolderLock; "
        "lock = FolderLock(sys.argv[1]); print('locked', flush=True); time.sleep(600)"
    )
    other = ForkedScript(["-c", code, project.work_dir], project.root)
    assert other.stdout.readline() == "locked\n"
    words = f"process {other.pid} on"
    assert words in failing("train.py")
    assert [path.name for path in project.work_dir.iterdir()] == [".lock"]
    other.kill()
    other.wait()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("train_dataloader.dataset.ratio=1.5", "ratio"),
        ("train_dataloader.dataset.num_classes=0", "num_classes"),
    ],
)
def test_a_value_that_the_package_refuses_is_a_sentence(
    tool, project, option, words
) -> None:
    module = tool(
        "train.py", project.config, "--work-dir", project.work_dir,
        "--cfg-options", option,
    )  # fmt: skip
    with pytest.raises(SystemExit) as caught, module._lifetime.last_words():
        module.main()
    assert caught.value.code == 2
    assert str(caught.value).startswith("train.py: error: ") and words in str(
        caught.value
    )


def test_an_error_that_nobody_raised_on_purpose_keeps_its_traceback(tool, project):
    lifetime = tool("train.py", project.config)._lifetime
    with pytest.raises(ValueError, match="invalid literal"), lifetime.last_words():
        int("x")
