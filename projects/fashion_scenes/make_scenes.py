"""Make a small dense data set: scenes composed of Fashion-MNIST's real garments.

Detection as in COCO and segmentation as in ADE20K on the same images. The same options
make the same scenes. projects/fashion_scenes/README.md tells more.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import _launch  # noqa: E402

_launch.require_torch()


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        default=Path("data/fashion-mnist"),
        metavar="DIR",
        help="folder of Fashion-MNIST's four idx files, .gz or not "
        "(tools/prepare_data.py fashion-mnist fetches them)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data/fashion_scenes"),
        metavar="DIR",
        help="folder to make; must not exist",
    )
    for name, default, text in (
        ("train", 4000, "scenes to train on, of training images"),
        ("val", 500, "scenes to validate on, of test images"),
        ("tiny-train", 64, "how many of the first are also listed apart"),
        ("tiny-val", 32, "the same of those to validate on"),
        ("seed", 0, "another seed, other scenes"),
        ("canvas", 128, "height and width of a scene, in pixels"),
        ("max-garments", 6, "a scene has 1 to so many garments"),
    ):
        parser.add_argument(
            f"--{name}", type=int, default=default, metavar="N", help=text
        )
    parser.add_argument(
        "--scale",
        type=float,
        nargs=2,
        default=(0.25, 0.6),
        metavar=("LOW", "HIGH"),
        help="side of a garment's image, in shares of the canvas",
    )
    parser.add_argument(
        "--min-visible",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="of every garment at least this share is visible",
    )
    parser.add_argument(
        "--empty",
        type=float,
        default=0.02,
        metavar="SHARE",
        help="share of scenes without any garment",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="garments as grey as in Fashion-MNIST on a black ground: easier to learn",
    )
    args = parser.parse_args()
    args.scale = tuple(args.scale)
    return args


def same_again(settings: dict[str, Any]) -> str:
    """The command that makes the same scenes, whatever the folders are called."""
    words = ["python", "projects/fashion_scenes/make_scenes.py"]
    for name, value in settings.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] * value
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [option, *map(str, values)]
    return shlex.join(words)


def describe(name: str, found: dict[str, Any]) -> str:
    """A few lines about a split."""
    scenes, garments = found["scenes"], found["garments"]
    numbers = ", ".join(
        f"{count} with {number}"
        for number, count in enumerate(found["scenes_with_0_1_2_garments"])
    )
    text = f"{name}: {scenes} scenes, {garments} garments ({numbers})"
    if not garments:
        return text
    classes = found["garments_per_class"]
    few, many = min(classes, key=classes.get), max(classes, key=classes.get)
    return (
        f"{text}\n"
        f"  {classes[few]} ({few}) to {classes[many]} ({many}) of a class; "
        f"{100 * found['mean_visible_share']:.0f} % of a garment visible on average, "
        f"{100 * found['partly_hidden_share']:.0f} % of them partly hidden; "
        f"{100 * found['garment_pixels_share']:.0f} % of the pixels are garments"
    )


def main() -> None:
    """Make the data set."""
    args = parse_args()
    from fashion_scenes.files import (
        Sizes,
        refuse_existing,
        write_fashion_scenes,
    )
    from fashion_scenes.scenes import Recipe, load_garments

    from lbbt_mm.progress import follow

    def chosen(kind: type) -> dict[str, Any]:
        return {name: getattr(args, name) for name in kind.__dataclass_fields__}

    try:
        recipe, sizes = Recipe(**chosen(Recipe)), Sizes(**chosen(Sizes))
        refuse_existing(args.out)
        garments = {
            split: load_garments(args.data_root, split) for split in ("train", "val")
        }
    except (ValueError, OSError) as error:
        # What is wrong with the options or the files is in the message.
        _launch.fail(str(error))
    try:
        record = write_fashion_scenes(
            garments,
            recipe,
            sizes,
            args.out,
            command=same_again({**chosen(Recipe), **chosen(Sizes)}),
            progress=lambda scenes, total, split: follow(
                scenes, split, total=total, unit="scenes"
            ),
        )
    except OSError as error:
        if error.errno is None:  # ours: the folder exists by now
            _launch.fail(str(error))
        _launch.fail_to_write("the scenes", args.out, error)
    for split, found in record["statistics"].items():
        print(describe(split, found))
    print(f"Written to {args.out}; {args.out / 'examples.png'} shows some of them")


if __name__ == "__main__":
    main()
