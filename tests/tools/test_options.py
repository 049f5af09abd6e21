"""Options and errors of the tools, in this process: no run is started."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

REPO = Path(__file__).resolve().parents[2]


def error_of(capsys, run):
    with pytest.raises(SystemExit) as exit_info:
        run()
    assert exit_info.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "argv", "message"),
    [
        ("train", ["none.py"], "the config none.py does not exist"),
        ("train", ["tiny.py", "--resume", "x.pth"], "the checkpoint x.pth does not ex"),
        ("train", ["tiny.py", "--frob"], r"unrecognized arguments: --frob \(--help"),
        ("train", ["tiny.py", "--imges", "3"], "--imges 3: did you mean --images?"),
        ("linear_probe", ["tiny.py", "--epochs", "0"], "whole number above 0, got '0'"),
        ("train", ["train"], "train is a folder: name a config in it"),
        (
            "train",
            ["tiny.py", "--cfg-options", "optim_wrapper.optimizer.type=AdmaW"],
            "an optimiser of torch.* got 'AdmaW': did you mean AdamW?",
        ),
        ("analyze", ["gone/gpt2"], "'gone/gpt2' is no file or folder"),
        ("train", ["tiny.py", "--cfg-options", "a"], "expects KEY=VALUE, got 'a'"),
        ("train", ["tiny.py", "--cfg-options", "model.type.a=1"], "does not fit"),
        ("train", ["tiny.py", "--cfg-options", "train_cfg=None"], "no train_cfg"),
        (
            "train",
            ["tiny.py", "--auto-scale-lr", "--cfg-options", "auto_scale_lr=None"],
            "expects auto_scale_lr.base_batch_size",
        ),
        (
            "train",
            ["tiny.py", "--amp", "--cfg-options", "optim_wrapper.type=DeepSpeed"],
            "can replace an optim_wrapper of type .* got DeepSpeed",
        ),
        ("train", ["tiny.py", "--launcher", "pytorch"], "expects RANK, WORLD_SIZE"),
        ("test", ["tiny.py", "x.pth"], "the checkpoint x.pth does not exist"),
        ("test", ["tiny.py", "x.pth", "--out", "a.txt"], "FILE.json or FILE.pkl, got"),
        ("test", ["tiny.py", "tiny.py", "--show-dir", "x"], "expects default_hooks.vi"),
        # The optional CHECKPOINT may stand behind options.
        ("linear_probe", ["tiny.py", "--amp", "x.pth"], "checkpoint x.pth does not ex"),
        ("linear_probe", ["tiny.py", "--lr-sweep", "x.pth"], "put CHECKPOINT before"),
        ("linear_probe", ["tiny.py", "--lr-sweep", "0.1"], "expects two or more"),
        ("linear_probe", ["tiny.py", "--held-out", "0.1"], "expects --lr-sweep"),
        ("linear_probe", ["tiny.py", "--lr-sweep", "--lr", "1"], "not allowed with"),
        (
            "linear_probe",
            ["tiny.py", "--lr-sweep", "--held-out", "2"],
            "share between 0 and 1, got 2",
        ),
        ("train", ["tiny.py", "--device", "cuda"], "cuda was asked for, .* 'cpu'"),
        (
            "linear_probe",
            ["tiny.py", "--cfg-options", "load_from=a.pth"],
            "has load_from='a.pth', but no CHECKPOINT",
        ),
        (
            "linear_probe",
            ["tiny.py", "--cfg-options", "train_dataloader=None"],
            "expects train_dataloader in the config",
        ),
    ],
)
def test_bad_input_is_one_sentence(tool, capsys, name, argv, message):
    for variable in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(variable, None)
    said = error_of(capsys, tool(f"{name}.py", *argv).main)
    assert re.search(message, said)
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model.backbone.typ=1", "VisionTransformer the option typ, which it has not"),
        ("model.head.topkk=1", "gives ClsHead the option topkk"),  # of what it inherits
        ("model.head.type=LinearClsHeda", "as a model: did you mean LinearClsHead?"),
        (
            "train_dataloader.dataset.type=lbbt_mm.RandomLabelDatase",
            "as a dataset: did you mean lbbt_mm.RandomLabelDataset?",
        ),
        ("train_dataloader.dataset.ratioo=1", "ratioo"),
    ],
)
def test_a_name_that_does_not_exist(tool, capsys, option, message) -> None:
    module = tool("train.py", "tiny.py", "--cfg-options", option)

    def run() -> None:
        with module._lifetime.last_words():
            module.main()

    said = error_of(capsys, run)
    assert message in said and len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lr = 1e-3 *", r"SyntaxError: .*bad.py, line 1"),
        ("a = 1\nlr = rate", r"bad.py, line 2: NameError: name 'rate' is not defined"),
        ("_base_ = './gone.py'", r"FileNotFoundError: .*gone.py"),
        ("_base_ = ['./tiny.py', './tiny.py']", "Duplicate key"),
        ("_base_ = './tiny.py'\nmodel = dict(type=dict(a=1))", "cannot inherit"),
    ],
)
def test_a_config_that_cannot_be_read(tool, capsys, project, text, message):
    (project.root / "bad.py").write_text(text)
    said = error_of(capsys, tool("train.py", "bad.py").main)
    assert said.startswith("train.py: error: bad.py: it cannot be read: ")
    assert re.search(message, said), said


def applied(tool, *argv):
    module = tool("train.py", "tiny.py", *argv)
    args = module.parse_args()
    cfg = module._launch.load_config(args)
    module.apply_options(cfg, args)
    return cfg


def test_defaults_leave_the_config_alone(tool):
    cfg = applied(tool)
    assert cfg.optim_wrapper.type == "OptimWrapper"
    assert not cfg.get("resume") and not cfg.auto_scale_lr.get("enable")
    assert cfg.val_dataloader is not None
    assert cfg.work_dir == os.path.join("work_dirs", "tiny")


def test_options_reach_the_config(tool):
    cfg = applied(
        tool, "--work-dir", "w", "--auto-scale-lr", "--no-validate", "--resume",
        "--cfg-options", "optim_wrapper.optimizer.lr=0.5", "custom=[1,2]",
    )  # fmt: skip
    assert cfg.work_dir == "w"
    assert cfg.auto_scale_lr.enable is True
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    assert not cfg.get("resume")  # there is nothing yet to resume from
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.custom == [1, 2]


@pytest.mark.parametrize("kind", ["OptimWrapper", "mmengine.AmpOptimWrapper"])
def test_amp_replaces_the_wrapper_and_keeps_the_rest(tool, kind):
    cfg = applied(
        tool, "--amp", "--cfg-options", f"optim_wrapper.type={kind}",
        "optim_wrapper.loss_scale=dynamic", "optim_wrapper.clip_grad.max_norm=1.0",
    )  # fmt: skip
    assert cfg.optim_wrapper == dict(
        type="lbbt_mm.AutocastOptimWrapper",
        dtype="bfloat16",
        clip_grad=dict(max_norm=1.0),
        optimizer=dict(type="AdamW", lr=1e-2),
    )


@pytest.mark.parametrize("supported", [True, False])
def test_fused_optimiser_where_torch_has_it(tool, monkeypatch, capsys, supported):
    """torch 2.1 refuses fused=True on CPU in the constructor."""

    class AdamW(torch.optim.AdamW):
        def __init__(self, params, fused=False, **kwargs):
            if fused and not supported:
                raise RuntimeError("`fused=True` requires CUDA")
            super().__init__(params, **kwargs)

    monkeypatch.setattr(torch.optim, "AdamW", AdamW)
    cfg = applied(tool, "--cfg-options", "optim_wrapper.optimizer.fused=True")
    assert cfg.optim_wrapper.optimizer.fused is supported
    assert ("has no fused AdamW" in capsys.readouterr().out) is not supported


@pytest.mark.parametrize("automatic", [True, False])
def test_resuming_leaves_the_config_as_it_is(tool, project, automatic):
    checkpoint = project.root / "w" / "epoch_3.pth"
    checkpoint.parent.mkdir()
    torch.save({}, checkpoint)
    (checkpoint.parent / "last_checkpoint").write_text(str(checkpoint))
    options = [
        "--work-dir", "w", "--cfg-options", "model.backbone._delete_=True",
        "model.backbone.type=lbbt_mm.LanguageBackbone",
    ]  # fmt: skip
    resume = ["--resume"] if automatic else ["--resume", str(checkpoint)]
    cfg = applied(tool, *resume, *options)
    assert "pretrained" not in cfg.model.backbone  # language weights, for the report
    assert cfg.resume is True
    assert os.path.realpath(cfg.load_from) == os.path.realpath(checkpoint)
    assert "pretrained" not in applied(tool, *options).model.backbone


def test_mmpretrain_loaders_get_the_defaults_of_its_tools(tool):
    module = tool("train.py", "tiny.py")
    cfg = Config(
        dict(
            default_scope="mmpretrain",
            train_dataloader=dict(num_workers=2),
            val_dataloader=dict(num_workers=0, persistent_workers=True),
            test_dataloader=None,
        )
    )
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    module._launch.prepare_dataloaders(cfg, *loaders)
    assert cfg.train_dataloader == dict(
        num_workers=2,
        persistent_workers=True,
        pin_memory=False,
        collate_fn=dict(type="default_collate"),
    )
    assert cfg.val_dataloader.persistent_workers is False
    assert cfg.test_dataloader is None
    cfg = Config(dict(default_scope="mmdet", train_dataloader=dict(num_workers=2)))
    module._launch.prepare_dataloaders(cfg, "train_dataloader")
    assert cfg.train_dataloader == dict(num_workers=2)


def test_cpu_processes_keep_the_options_of_the_wrapper(tool, monkeypatch):
    """mmengine ignores find_unused_parameters beside a model_wrapper_cfg."""
    launch = tool("train.py", "tiny.py")._processes
    monkeypatch.setattr("torch.distributed.init_process_group", lambda backend: None)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ[name] = "1"
    cfg = Config(dict(find_unused_parameters=True))
    launch.prepare_launch(cfg, "pytorch")
    assert cfg.launcher == "pytorch"
    assert cfg.model_wrapper_cfg.find_unused_parameters is True
    assert cfg.model_wrapper_cfg.device_ids is None
    own = dict(type="MMSeparateDistributedDataParallel")
    cfg = Config(dict(model_wrapper_cfg=own))
    launch.prepare_launch(cfg, "pytorch")
    assert cfg.model_wrapper_cfg == dict(own, device_ids=None)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    ("launcher", "message"),
    [
        ("slurm", "expects SLURM_PROCID.* a job of Slurm .*tools/dist_train.sh"),
        ("mpi", "expects OMPI_COMM_WORLD_RANK.* mpirun"),
        ("pytorch", "expects RANK, WORLD_SIZE"),
    ],
)
def test_a_launcher_outside_its_job(
    tool, monkeypatch, launcher: str, message: str, device: str
) -> None:
    launch = tool("train.py", "tiny.py")._processes
    monkeypatch.setattr("mmengine.device.get_device", lambda: device)
    for name in [n for n in os.environ if n.startswith(("SLURM_", "OMPI_"))]:
        os.environ.pop(name)
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    with pytest.raises(SystemExit, match=message):
        launch.prepare_launch(Config(dict()), launcher)


def test_an_interpreter_without_torch(tool, monkeypatch, project) -> None:
    launch = tool("train.py", "tiny.py")._launch
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="has no torch and no mmengine: activate"):
        launch.hide_gpus_if_asked([])
    said = project.run(
        project.tools / "dist_train.sh", "a.py", "1", ok=False,
        env=dict(PYTHON="no-such-python"),
    )  # fmt: skip
    assert "the interpreter no-such-python does not exist: activate" in said


@pytest.mark.parametrize(
    "name",
    sorted(
        path.relative_to(REPO).as_posix()
        for folder in ("tools", "projects/fashion_scenes")
        for path in (REPO / folder).glob("[!_]*.py")
        # They need none, are run by the one that was made, and only pass on.
        if path.name not in ("prepare_data.py", "quickstart.py", "sweep.py")
    ),
)
def test_every_tool_without_torch(tool, monkeypatch, capsys, name) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="has no torch and no mmengine: activate"):
        tool(name).main()
    assert len(capsys.readouterr().err.splitlines()) < 10


def test_a_module_that_is_run_without_mmengine() -> None:
    # Without site-packages, and the package from where we are.
    said = subprocess.run(
        [sys.executable, "-S", "-m", "lbbt_mm.config", "a.py"],
        cwd=REPO,
        env=dict(os.environ, PYTHONPATH=""),
        capture_output=True,
        text=True,
    )
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert "lbbt_mm needs mmengine" in said.stderr and "activate" in said.stderr


def test_no_slurm_here(project) -> None:
    bash = "/bin:/usr/bin"
    said = project.run(
        project.tools / "slurm_train.sh", "part", "job", "a.py", "work", ok=False,
        env=dict(PATH=bash),
    )  # fmt: skip
    assert "srun is not here" in said and "tools/dist_train.sh" in said


@pytest.mark.parametrize("launcher", ["slurm", "mpi"])
def test_other_launchers_are_translated_on_cpu(tool, monkeypatch, launcher):
    launch = tool("train.py", "tiny.py")._processes
    monkeypatch.setattr(subprocess, "getoutput", lambda command: "node7")
    for name in ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK"):
        os.environ.pop(name, None)
    if launcher == "slurm":
        os.environ.update(
            SLURM_PROCID="3", SLURM_NTASKS="4", SLURM_LOCALID="1", SLURM_NODELIST="n[7]"
        )
    else:
        os.environ.update(
            OMPI_COMM_WORLD_RANK="3",
            OMPI_COMM_WORLD_SIZE="4",
            OMPI_COMM_WORLD_LOCAL_RANK="1",
            MASTER_ADDR="node7",
        )
    launch._export_rank(launcher)
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    assert [os.environ[name] for name in names] == ["3", "4", "1", "node7", "29500"]


@pytest.mark.parametrize(
    ("hook", "expected"),
    [
        ("VisualizationHook", dict(enable=True, out_dir="shown")),
        ("mmdet.DetVisualizationHook", dict(draw=True, test_out_dir="shown")),
        ("SegVisualizationHook", dict(draw=True)),
    ],
)
def test_show_dir_speaks_three_dialects(tool, hook, expected):
    module = tool("test.py", "tiny.py", "x.pth")
    cfg = Config(
        dict(default_hooks=dict(visualization=dict(type=hook)), visualizer=dict())
    )
    module.draw_predictions(cfg, "shown")
    assert cfg.default_hooks.visualization == dict(type=hook, **expected)
    if hook == "SegVisualizationHook":
        assert cfg.visualizer.save_dir == "shown"


def fake_command(folder, name):
    """A program that writes its environment and arguments instead of running."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "OMP=$OMP_NUM_THREADS"\necho "{name}" "$@"\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_slurm_scripts_pass_everything_on(project):
    fake_command(project.root, "srun")
    env = dict(PATH=f"{project.root}{os.pathsep}{os.environ['PATH']}", PYTHON="py")
    output = project.run(
        project.tools / "slurm_train.sh", "part", "job", "a b.py", "work", "--amp",
        env=dict(env, GPUS="2", SRUN_ARGS="--quotatype auto"),
    )  # fmt: skip
    assert "-p part --job-name=job --gres=gpu:2 --ntasks=2 " in output
    assert "--ntasks-per-node=2 " in output
    assert "--quotatype auto py -u " in output
    assert "tools/train.py a b.py --work-dir=work --launcher=slurm --amp" in output
    output = project.run(
        project.tools / "slurm_test.sh", "part", "job", "a.py", "a.pth", env=env
    )
    assert "--gres=gpu:8 --ntasks=8 " in output
    assert "tools/test.py a.py a.pth --launcher=slurm" in output


def test_dist_scripts_pass_everything_on(project):
    python = fake_command(project.root, "python")
    env = dict(PYTHON=str(python), PORT="12345", OMP_NUM_THREADS="")
    output = project.run(
        project.tools / "dist_train.sh", "a b.py", "3", "--device", "cpu",
        env=dict(env, NNODES="2", NODE_RANK="1", MASTER_ADDR="node0"),
    )  # fmt: skip
    assert (
        "-m torch.distributed.run --nnodes=2 --node_rank=1 --master_addr=node0 "
        "--master_port=12345 --nproc_per_node=3 "
    ) in output
    assert "tools/train.py a b.py --launcher pytorch --device cpu" in output
    cores = int(subprocess.check_output(["nproc"], env=dict(PATH=os.environ["PATH"])))
    assert f"OMP={max(1, cores // 3)}\n" in output
    output = project.run(
        project.tools / "dist_test.sh", "a.py", "a.pth", "1",
        env=dict(env, OMP_NUM_THREADS="7"),
    )  # fmt: skip
    assert "tools/test.py a.py a.pth --launcher pytorch" in output
    assert "OMP=7\n" in output


@pytest.mark.parametrize(
    "command",
    [
        ("dist_train.sh", "a.py"),
        ("dist_train.sh", "a.py", "two"),
        ("dist_test.sh", "a.py", "2"),
        ("slurm_train.sh", "part", "job", "a.py"),
        ("slurm_test.sh", "part"),
    ],
)
def test_scripts_say_how_they_are_called(project, command):
    name, *arguments = command
    assert "usage: " in project.run(project.tools / name, *arguments, ok=False)
