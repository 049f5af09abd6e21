"""Show a trained model on a page of this machine: give it a picture, read the answer.

A classifier of mmpretrain says the best classes, an lbbt_mm.LLaVA answers questions, a
detector of mmdet and a segmenter of mmseg draw what they find. The page loads nothing
from elsewhere and sends nothing away; pictures are deleted when it ends (Ctrl-C). From
another machine: ssh -L 7860:localhost:7860 THIS_MACHINE
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import tempfile
from pathlib import Path
from typing import Any

import _launch
import _lifetime

_launch.hide_gpus_if_asked()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__,
        "python tools/demo.py \\\n      configs/bridge/"
        "smollm2-b8_language_random100_6e_mnist5k.py \\\n"
        "      work_dirs/smollm2-b8_language_random100_6e_mnist5k/epoch_6.pth",
    )
    parser.add_argument("config", help="config file of mmpretrain, mmdet or mmseg")
    parser.add_argument("checkpoint", help="file that a run saved")
    _launch.add_config_option(parser)
    _launch.add_device_option(parser)
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to serve on, default: %(default)s, for this machine alone; "
        "0.0.0.0: for whoever reaches it",
    )
    parser.add_argument(
        "--port", type=int, default=7860, help="default: %(default)s; 0: any free one"
    )
    parser.add_argument(
        "--examples",
        type=Path,
        metavar="FOLDER",
        help="show its pictures, the first 12 by name, to choose from",
    )
    args = parser.parse_args()
    args.work_dir = None  # nothing is written
    if not 0 <= args.port < 65536:
        parser.error(f"--port expects a number from 0 to 65535, got {args.port}")
    return args


def listen(host: str, port: int) -> socket.socket:
    """Take the port, before a model is opened for minutes."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except OSError as error:
        _launch.fail(
            f"{host}:{port} cannot be served on ({error.strerror or error}): choose "
            "another --port (0: any free one) or --host."
        )


def find_examples(folder: Path | None) -> list[Path]:
    """Find the first pictures of a folder."""
    if folder is None:
        return []
    endings = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
    try:
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in endings)
    except OSError as error:
        _launch.fail(f"--examples {folder} cannot be read ({error.strerror}).")
    if not files:
        _launch.fail(f"--examples {folder} has no picture ({', '.join(endings)}).")
    return files[:12]


def main() -> None:
    """Open the model and serve its page until Ctrl-C."""
    args = parse_args()
    cfg: Any = _launch.load_config(args)
    _launch.check_checkpoint(args.checkpoint, local=True)
    examples = find_examples(args.examples)
    os.environ.update(GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1")
    with (
        tempfile.TemporaryDirectory() as uploads,
        listen(args.host, args.port) as door,
        _launch.console(verbose=False),
    ):
        os.environ["GRADIO_TEMP_DIR"] = uploads  # read when gradio is imported
        app = make_app(cfg, args, examples)
        import uvicorn

        host, port = door.getsockname()[:2]
        print(f"http://{host}:{port}  (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        with contextlib.suppress(KeyboardInterrupt):
            server.run(sockets=[door])


def make_app(cfg: Any, args: argparse.Namespace, examples: list[Path]) -> Any:
    """Open the model and lay out its page."""
    from lbbt_mm.version import require

    with _launch.refusals(ValueError, ImportError, OSError):
        require("gradio", "tools/demo.py")
        from mmengine.device import get_device
        from mmengine.logging import MMLogger

        from lbbt_mm.demo.models import open_model
        from lbbt_mm.demo.page import build_page, served

        MMLogger.get_instance("mmengine", log_level="WARNING")
        model = open_model(
            cfg, args.config, args.checkpoint, get_device(), args.cfg_options
        )
    title = f"{Path(args.config).stem}, {Path(args.checkpoint).name}"
    return served(build_page(model, title, examples))


if __name__ == "__main__":
    with _lifetime.last_words():
        main()
