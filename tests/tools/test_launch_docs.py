"""The command lines of docs/distributed.md start what they say."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from test_options import fake_command

REPO = Path(__file__).resolve().parents[2]
TEXT = (REPO / "docs" / "distributed.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```bash\n(.*?)```", TEXT, flags=re.S)
    for line in block.splitlines()
]


def test_every_variable_is_read_by_the_scripts():
    rows = re.findall(r"^\| (`[A-Z_`, ]+) \|", TEXT, flags=re.M)
    named = {name for row in rows for name in re.findall("[A-Z_]+", row)}
    assert len(named) == 11
    scripts = (REPO / "tools" / "_dist_env.sh").read_text(encoding="utf-8")
    python = (REPO / "tools" / "_processes.py").read_text(encoding="utf-8")
    for name in named:
        assert f"{{{name}:-" in scripts or f'"{name}"' in python, name


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_reach_the_launcher(project, command):
    words = shlex.split(command)
    given = dict(word.split("=", 1) for word in words if re.match("[A-Z_]+=", word))
    script, *arguments = words[len(given) :]
    for word in arguments:
        if word.startswith("configs/"):
            assert (REPO / word).is_file()
    python = fake_command(project.root, "python")
    fake_command(project.root, "srun")
    path = f"{project.root}{os.pathsep}{os.environ['PATH']}"
    env = dict(given, PATH=path, PYTHON=str(python))
    output = project.run(REPO / script, *arguments, env=env)
    if "slurm" in script:
        processes, a_node = given.get("GPUS", 8), given.get("GPUS_PER_NODE", 8)
        assert f"--gres=gpu:{a_node} --ntasks={processes} " in output
        assert f"--ntasks-per-node={a_node} " in output
        assert f"--cpus-per-task={given.get('CPUS_PER_TASK', 5)} " in output
        assert given.get("SRUN_ARGS", "") in output and "--launcher=slurm" in output
    else:
        assert "-m torch.distributed.run " in output
        assert f"--nnodes={given.get('NNODES', 1)} " in output
        assert f"--node_rank={given.get('NODE_RANK', 0)} " in output
        assert f"--master_addr={given.get('MASTER_ADDR', '127.0.0.1')} " in output
        assert "--nproc_per_node=8 " in output and "--launcher pytorch" in output
    assert ("--resume" in output) == ("--resume" in command)


def test_machines_agree_on_a_port_and_one_takes_a_free_one(project):
    """One machine asks Python for a port; several must not, they would differ."""
    python = fake_command(project.root, "python")
    started = REPO / "tools" / "dist_train.sh", "a.py", "2"
    several = dict(PYTHON=str(python), NNODES="2", NODE_RANK="1", PORT="")
    assert "--master_port=29500 " in project.run(*started, env=several)
    alone = project.run(*started, env=dict(PYTHON=str(python), PORT=""))
    assert "--master_port=29500" not in alone
    assert "s.getsockname()" in alone  # what the stand-in was asked
