"""One training step of a bridge, against transformers' blocks in a plain loop.

Both arms have the same images and labels, patch embedding, blocks (the same weights),
linear head on the last token, AdamW, clipping of gradients, dropout and bfloat16
autocast, and take turns in one process. The share of the machine's own rate of bfloat16
matrix products, measured in the same run, says how much is left to win.
Baseline: ``transformers.GPT2Model`` or ``LlamaModel`` on the patches' embeddings.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))

# name: (family, blocks, width, heads, key-value heads, FFN width, image, patch, batch)
SETTINGS = {
    "gpt2": ("gpt2", 12, 768, 12, 12, 3072, 224, 16, 8),
    "small": ("gpt2", 6, 384, 6, 6, 1536, 28, 4, 32),
    "smollm2": ("llama", 8, 576, 9, 3, 1536, 28, 7, 64),
}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--setting", choices=SETTINGS, default="gpt2")
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each arm")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true", help="our operations")
    return parser.parse_args()


def matmul_rate(rows: int, width: int, seconds: float = 1.0) -> float:
    """Multiply bfloat16 matrices of the step's size; return operations a second."""
    import torch

    a = torch.randn(rows, width, dtype=torch.bfloat16)
    b = torch.randn(width, 4 * width, dtype=torch.bfloat16)
    a @ b
    count, start = 0, time.process_time()
    while time.process_time() - start < seconds:
        a @ b
        count += 1
    return count * 2 * rows * width * 4 * width / (time.process_time() - start)


def build(args: argparse.Namespace) -> tuple[dict[str, Callable[[], float]], int, int]:
    """Return each arm's step, matrix operations of a step, and rows of its matrices."""
    import torch
    import transformers
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample

    from lbbt_mm.optim import AutocastOptimWrapper

    family, blocks, width, heads, kv_heads, ffn, image, patch, batch = SETTINGS[
        args.setting
    ]
    torch.manual_seed(0)
    if family == "gpt2":
        config = transformers.GPT2Config(
            n_layer=blocks,
            n_embd=width,
            n_head=heads,
            vocab_size=100,
            resid_pdrop=args.dropout,
            embd_pdrop=args.dropout,
            attn_pdrop=args.dropout,
        )
        text = transformers.GPT2Model(config)
    else:
        config = transformers.LlamaConfig(
            num_hidden_layers=blocks,
            hidden_size=width,
            num_attention_heads=heads,
            num_key_value_heads=kv_heads,
            intermediate_size=ffn,
            vocab_size=100,
        )
        text = transformers.LlamaModel(config)
    init_default_scope("mmpretrain")
    with tempfile.TemporaryDirectory() as folder:
        text.save_pretrained(folder)
        model = MODELS.build(
            dict(
                type="ImageClassifier",
                backbone=dict(
                    type="lbbt_mm.LanguageBackbone",
                    language_model=folder,
                    img_size=image,
                    patch_size=patch,
                    in_channels=3,
                    drop_rate=args.dropout if family == "gpt2" else None,
                ),
                head=dict(type="LinearClsHead", num_classes=10, in_channels=width),
            )
        )
        model.init_weights()
    model.train()
    images = torch.randn(batch, 3, image, image)
    labels = torch.randint(10, (batch,))
    samples = [DataSample().set_gt_label(int(label)) for label in labels]
    wrapper = AutocastOptimWrapper(
        optimizer=torch.optim.AdamW(model.parameters(), 1e-4, fused=True),
        clip_grad=dict(max_norm=1.0),
    )

    def ours() -> float:
        with wrapper.optim_context(model):
            loss = model(images, samples, mode="loss")["loss"]
        wrapper.update_params(loss)
        return float(loss)

    embed = copy.deepcopy(model.backbone.patch_embed)
    head = torch.nn.Linear(width, 10)
    head.load_state_dict(model.head.fc.state_dict())
    text.train()
    parameters = [
        p for m in (embed, text, head) for p in m.parameters() if p.requires_grad
    ]
    optimizer = torch.optim.AdamW(parameters, 1e-4, fused=True)

    def plain() -> float:
        with torch.autocast("cpu", torch.bfloat16):
            tokens = embed(images)[0]
            hidden = text(inputs_embeds=tokens, use_cache=False).last_hidden_state
            loss = torch.nn.functional.cross_entropy(head(hidden[:, -1]), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return float(loss)

    tokens = (image // patch) ** 2
    weights = sum(
        p.numel()
        for name, p in model.backbone.language.blocks.named_parameters()
        if p.ndim == 2
    )
    products = 6 * batch * tokens * (weights + 2 * blocks * tokens * width)
    return dict(transformers=plain, ours=ours), products, batch * tokens


def main() -> None:
    """Measure and print the table."""
    args = parse_args()
    import torch

    torch.set_num_threads(args.threads)
    steps, products, rows = build(args)
    losses = {name: [step() for _ in range(2)] for name, step in steps.items()}
    if abs(losses["ours"][0] - losses["transformers"][0]) > 0.2:
        raise SystemExit(f"The arms compute different things: {losses}.")
    if args.profile:
        from torch.profiler import profile

        with profile() as seen:
            for _ in range(3):
                steps["ours"]()
        print(
            seen.key_averages().table(
                sort_by="self_cpu_time_total", row_limit=28, max_name_column_width=40
            )
        )
        return
    times: dict[str, list[float]] = {name: [] for name in steps}
    rates = []
    for _ in range(args.steps):
        rates.append(matmul_rate(rows, SETTINGS[args.setting][2], 0.3))
        for name, step in steps.items():
            start = time.process_time()
            step()
            times[name].append(time.process_time() - start)
    rate = statistics.median(rates)
    print(
        f"{args.setting}, dropout {args.dropout}; processor time, median of "
        f"{args.steps} (from, to), and share of this machine's {rate / 1e9:.0f} G "
        f"operations a second in bfloat16 matrix products"
    )
    medians = {name: statistics.median(found) for name, found in times.items()}
    for name, middle in medians.items():
        low, high = min(times[name]), max(times[name])
        print(
            f"{name:<14}{1e3 * middle:>7.0f} ms ({1e3 * low:.0f}, {1e3 * high:.0f})"
            f"{products / middle / rate:>7.0%}"
        )
    print(f"ratio {medians['transformers'] / medians['ours']:.2f}")


if __name__ == "__main__":
    main()
