"""tools/demo.py: an address, and a sentence for whatever is wrong before it."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import uvicorn


@pytest.fixture
def served(monkeypatch, tool, ended):
    """Run the tool as if Ctrl-C came at once; returns its end and what it served."""
    seen = {}

    def run(self, sockets) -> None:
        seen.update(app=self.config.app, address=sockets[0].getsockname())
        seen["folder"] = Path(os.environ["GRADIO_TEMP_DIR"])
        assert seen["folder"].is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return lambda *argv: (ended("demo.py", *argv, "--device", "cpu"), seen)


@pytest.fixture
def run(trained):
    return trained.config, trained.work_dir / "epoch_1.pth"


def test_it_serves_this_machine_alone_and_keeps_no_picture(served, run, project):
    done, seen = served(*run, "--port", "0", "--examples", project.root / "test/light")
    assert done.returncode == 0, done.stderr
    host, port = seen["address"]
    assert host == "127.0.0.1" and f"http://127.0.0.1:{port}" in done.stdout
    assert not seen["folder"].exists()
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_a_port_in_use_is_said_before_the_model_is_opened(served, run, monkeypatch):
    monkeypatch.setattr("lbbt_mm.demo.models.open_model", None)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done, _ = served(*run, "--port", port)
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be served on" in done.stderr
    assert "another --port" in done.stderr and "\n" not in done.stderr.strip()


def test_gradio_is_an_extra(served, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    done, _ = served(*run, "--port", "0")
    assert done.returncode == 2 and 'pip install ".[demo]"' in done.stderr


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (dict(checkpoint="none.pth"), "none.pth does not exist"),
        (dict(checkpoint="test/light/0.png"), "0.png"),
        (dict(options=["--examples", "none"]), "--examples none cannot be read"),
        (dict(options=["--examples", "."]), "--examples . has no picture"),
        (dict(options=["--port", "99999"]), "from 0 to 65535, got 99999"),
        (dict(options=["--host", "256.1.1.1"]), "256.1.1.1:0 cannot be served on"),
        (
            dict(options=["--cfg-options", "model.backbone.arch.num_layers=2"]),
            "not the one in the config",
        ),
        (
            dict(options=["--cfg-options", "test_dataloader.dataset.pipeline=[]"]),
            "Expected a pipeline of test images, got none",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_wrong_is_one_sentence(served, run, change, sentence):
    config, checkpoint = run
    options = ["--port", "0", *change.get("options", [])]
    done, _ = served(config, change.get("checkpoint", checkpoint), *options)
    assert done.returncode == 2
    assert sentence in done.stderr and done.stderr.startswith("demo.py: error: ")
    assert "\n" not in done.stderr.strip()
