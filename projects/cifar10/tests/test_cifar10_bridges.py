"""Bridges: the search first, then every setting once, with probes before and after."""

from __future__ import annotations

import json

import pytest
from cifar10_tiny import load_script, write_images, write_language_model


def test_the_search_chooses_and_each_setting_is_a_line(tmp_path, monkeypatch) -> None:
    bridges = load_script("bridges", monkeypatch)
    monkeypatch.setattr(bridges, "MOST_IMAGES", 20)
    write_images(tmp_path / "data", 4)
    write_language_model(tmp_path / "lm")
    out = tmp_path / "out.jsonl"
    options = [
        *("--data", str(tmp_path / "data"), "--out", str(out)),
        *("--language-model", str(tmp_path / "lm"), "--blocks", "1"),
        *("--images", "20", "--probe-images", "20", "40", "--epochs", "2"),
    ]
    with pytest.raises(SystemExit, match="No --search of language is in"):
        bridges.main(options)
    out.unlink()
    bridges.main([*options, "--search", "--variants", "token"])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["lr"] for row in rows] == 2 * [*bridges.LRS]
    assert all(len(row["fitted"]) == 2 and "after" not in row for row in rows)
    # Whichever fitted most; of language and of scratch.
    rows[0]["fitted"][-1] = rows[5]["fitted"][-1] = 101.0
    out.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    bridges.main([*options, "--seeds", "0"])
    bridges.main([*options, "--seeds", "0"])
    pixels, *found = (json.loads(line) for line in out.read_text().splitlines()[6:])
    assert pixels["initialisation"] == "pixels" and 0 <= pixels["top1"] <= 100
    assert [(row["variant"], row["initialisation"], row["lr"]) for row in found] == [
        ("plain", "language", bridges.LRS[0]),
        ("plain", "family", bridges.LRS[2]),
        ("token", "language", bridges.LRS[0]),
        ("token", "family", bridges.LRS[2]),
    ]
    for row in found:
        assert {*row["before"]} == {*row["after"]} == {"last", "mean"}
        assert len(row["fitted"]) == 2


def test_every_variant_and_initialisation_is_built(tmp_path, monkeypatch) -> None:
    bridges = load_script("bridges", monkeypatch)
    write_language_model(tmp_path, blocks=14)
    args = bridges.parse_args(["--language-model", str(tmp_path), "--blocks", "2"])
    for variant in bridges.VARIANTS:
        settings = dict(initialisation="language", variant=variant, seed=0)
        assert bridges.build(args, settings).num_layers == 2
    for name in bridges.INITIALISATIONS:
        settings = dict(initialisation=name, variant="plain", seed=0)
        assert bridges.build(args, settings).num_layers == 2
