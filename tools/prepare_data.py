"""Fetch a published data set and lay it out as the configs read it.

Without NAME it lists what there is, with sizes and licences. A download that was
interrupted goes on; what is there already is left alone. --from takes an archive (.zip,
.tar.*, .deb) or a folder that you have, also of the same images as JPEGs.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import _launch
from _datasets import DATASETS, DataSet, Place
from _download import download, need_space, unpack


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = _launch.argument_parser(
        __doc__, "python tools/prepare_data.py fashion-mnist"
    )
    parser.add_argument(
        "name", nargs="?", choices=DATASETS, metavar="NAME", help=", ".join(DATASETS)
    )
    parser.add_argument(
        "--root", type=Path, default=Path("data"), help="default: %(default)s"
    )
    parser.add_argument(
        "--from",
        dest="given",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="archives or folders in place of the download",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the archives in ROOT/downloads"
    )
    args = parser.parse_args()
    if args.given and not args.name:
        parser.error("--from expects a NAME before it")
    return args


def show() -> None:
    """List the data sets."""
    print("python tools/prepare_data.py NAME fetches one of these into data/:\n")
    for name, data in DATASETS.items():
        print(f"{name}: {data.title}. {data.gigabytes:g} GB. Licence: {data.licence}.")
        for file in data.files:
            megabytes = file.size / 1e6 if file.size else 0
            digits = 0 if megabytes >= 1 else 3
            size = f" ({megabytes:.{digits}f} MB)" if megabytes else ""
            print(f"    {file.url}{size}")


def find(folder: Path, data: DataSet) -> tuple[Place, Path] | None:
    """Find what was unpacked: which of the places, and the folder that goes there."""
    for place in data.places:
        depth = len(Path(place.marker).parts)
        found = sorted(folder.rglob(place.marker), key=lambda path: len(path.parts))
        if found:
            return place, found[0].parents[depth - 1]
    return None


def main() -> None:
    """Fetch, unpack, arrange."""
    args = parse_args()
    if not args.name:
        show()
        return
    data = DATASETS[args.name]
    for path in args.given or ():
        if not path.exists():
            _launch.fail(f"{path} does not exist (from {os.getcwd()}).")
    for place in data.places:
        same = args.given or place.target == data.places[0].target
        target = args.root / place.target
        there = target if place.make else target / place.marker
        if same and there.exists():
            print(f"{target} is there already.")
            return
    print(f"{data.title}. Licence: {data.licence}.", flush=True)
    size = data.gigabytes * 1e9
    if args.given:
        size = 2 * sum(path.stat().st_size for path in args.given)
    need_space(args.root, int(size))
    archives = args.given or fetch(args.root / "downloads" / args.name, data)
    part = args.root / f".{args.name}.part-{os.getpid()}"
    try:
        for archive in archives:
            unpack(archive, part)
        arrange(args, data, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not args.given and not args.keep:
        shutil.rmtree(args.root / "downloads" / args.name)


def fetch(folder: Path, data: DataSet) -> list[Path]:
    """Download the files of a data set."""
    found = []
    for file in data.files:
        path = folder / file.url.rpartition("/")[2]
        print(f"  {file.url}", flush=True)
        download(file.url, path, file.md5, file.size)
        found.append(path)
    return found


def arrange(args: argparse.Namespace, data: DataSet, part: Path) -> None:
    """Move what was unpacked to where the configs look, in one step."""
    found = find(part, data)
    if found is None:
        expected = " or ".join(place.marker for place in data.places)
        _launch.fail(
            f"{' '.join(map(str, args.given or ()))} expected {expected} in it, got "
            f"{', '.join(sorted(path.name for path in part.iterdir())[:5])}: is it "
            f"{args.name}?"
        )
    place, folder = found
    target, said = args.root / place.target, place.then
    if place.make:
        made = part / ".made"
        said = place.make(folder, made)
        folder = made
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # a folder that was made by hand: nothing of it is lost
        for child in sorted(folder.iterdir()):
            if not (target / child.name).exists():
                child.replace(target / child.name)
    else:
        folder.replace(target)
    count = sum(len(files) for _, _, files in os.walk(target))
    print(f"{target}: {count} files.{' ' * bool(said)}{said}")


if __name__ == "__main__":
    main()
