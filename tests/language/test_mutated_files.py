"""Hundreds of damaged files: an error or the right shapes; no crash, hang or flood."""

from __future__ import annotations

import faulthandler
import itertools
import json
import random
import resource
import sys
from pathlib import Path

import mutations
import pytest
from forked import ForkedScript

pytestmark = pytest.mark.slow

REPO = Path(__file__).resolve().parents[2]
SECONDS = 300  # of patience; what hangs is ended, with a traceback
MEMORY = 256 << 20  # beyond what the process has when it starts
RANDOM = 250


def read_everything(language_model: str) -> None:
    """Open a model and read all that the package ever reads of it."""
    from lbbt_mm.language import block_shapes, open_checkpoint

    checkpoint = open_checkpoint(language_model)
    for index in range(checkpoint.config.num_layers):
        block = checkpoint.block(index)
        for name, shape in block_shapes(checkpoint.config).items():
            assert tuple(block[name].shape) == shape
            block[name].float().sum()
    rows = checkpoint.embedding_rows(0, 4)
    assert rows.shape == (4, checkpoint.config.width)
    norm = checkpoint.norm("final_norm")["weight"]
    assert norm.shape == (checkpoint.config.width,)
    if checkpoint.config.position_shape is not None:
        checkpoint.positions()


def outcome(path: Path, data: bytes) -> str:
    """Return ``'opened'``, ``'refused'`` or what happened that must not."""
    from lbbt_mm.language import CheckpointError

    path.write_bytes(data)
    try:
        read_everything(str(path))
    except CheckpointError as error:
        message = str(error)
        if "\n" in message or len(message) > 2100 or "alloc" in message:
            return f"the message {message[:300]!r}"
        return "refused"
    except BaseException as error:
        return repr(error)[:300]
    return "opened"


def damage(path: Path, seed: int, count: int) -> dict:
    """Damage a file in place, again and again; return what went wrong."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    kind, data = path.suffix[1:], path.read_bytes()
    assert outcome(path, data) == "opened"  # and everything is imported
    used = int(Path("/proc/self/statm").read_text().split()[0])
    limit = used * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    rng = random.Random(seed)
    lies = list(getattr(mutations, f"{kind}_lies")(data, rng))
    header = getattr(mutations, f"{kind}_header")(data)
    damaged = mutations.random_damage(data, header, rng)
    wrong = [
        (label, found)
        for label, mutant in lies
        if (found := outcome(path, mutant)) != "refused"
    ]
    tally = {"refused": 0, "opened": 0}
    for label, mutant in itertools.islice(damaged, count):
        found = outcome(path, mutant)
        if found in tally:
            tally[found] += 1
        else:
            wrong.append((label, found))
    return dict(lies=len(lies), wrong=wrong, **tally)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a process of its own reports of both formats and of T5's names."""
    import tiny

    folder = tmp_path_factory.mktemp("mutated")
    kinds = [("llama", "file"), ("llama", "gguf"), ("t5", "file")]
    files = [
        tiny.save(tiny.build(name), folder / f"{name}-{kind}", kind)
        for name, kind in kinds
    ]
    done = ForkedScript([__file__, 0, RANDOM, *files], folder)
    said, _ = done.communicate()
    assert done.returncode == 0, said  # a crash, or the watchdog
    return json.loads(said.splitlines()[-1])


@pytest.mark.parametrize("kind", ["llama-file", "llama-gguf", "t5-file"])
def test_damaged_files_are_errors_and_nothing_worse(kind: str, results: dict) -> None:
    result = results[kind]
    assert result["wrong"] == []
    assert result["lies"] > 200
    # Damage is not always fatal (a flipped bit in a comment), but almost.
    assert result["refused"] > 0.9 * RANDOM
    assert result["refused"] + result["opened"] == RANDOM


if __name__ == "__main__":
    seed, count, *files = sys.argv[1:]
    print(
        json.dumps(
            {
                Path(file).parent.name: damage(Path(file), int(seed), int(count))
                for file in files
            }
        )
    )
