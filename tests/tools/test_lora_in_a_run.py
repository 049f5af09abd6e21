"""LoRA, alone and beside a block that trains: bridge, resume, probe, tune, merge."""

from __future__ import annotations

import json

import pytest
import torch
from torch.testing import assert_close

from lbbt_mm.models.backbone import merge_lora

pytestmark = pytest.mark.slow

CONFIG = """
_base_ = {base!r}
lora = dict(r=2, lora_dropout=0.1)
trains = 'patch_embed'
bridge = None
model = dict(backbone=dict(
    _delete_=True, type='lbbt_mm.LanguageBackbone', language_model={gpt2!r},
    img_size=8, patch_size=4, out_type='avg', lora=lora, trainable_layers=trains,
    init_cfg=bridge and dict(
        type='Pretrained', checkpoint=bridge, prefix='backbone.')))
custom_hooks = [dict(type='lbbt_mm.RandomStateHook')]
"""


@pytest.fixture
def config(project):
    """The project, on two blocks of a small GPT-2."""
    path, gpt2 = project.root / "lora.py", project.save_gpt2(blocks=2)
    path.write_text(CONFIG.format(base=str(project.config), gpt2=gpt2))
    return path


@pytest.mark.parametrize("trains", ["patch_embed", "last:1"])
def test_the_whole_way(project, config, tool, monkeypatch, trains):
    chosen = f"trains={trains}"

    def train(folder, *options, resume=()):
        named = [config, "--work-dir", project.root / folder, "--no-validate", *resume]
        tool("train.py", *named, "--cfg-options", chosen, *options).main()
        epoch = 2 if "train_cfg.max_epochs=2" in options else 1
        path = project.root / folder / f"epoch_{epoch}.pth"
        return path, torch.load(path, weights_only=False)["state_dict"]

    def probe(checkpoint, *options):
        out = project.root / "probe.json"
        named = [config, checkpoint, "--epochs", "2", "--no-cache", "--out", out]
        tool("linear_probe.py", *named, "--cfg-options", *options).main()
        return json.loads(out.read_text())["last_test_top1"]

    _, first = train("work")
    bridge, resumed = train("work", "train_cfg.max_epochs=2", resume=["--resume"])
    _, whole = train("whole", "train_cfg.max_epochs=2")
    assert_close(resumed, whole, rtol=0, atol=0)
    moved = {
        name.split("language.")[1]
        for name in first
        if name.endswith("weight") and not torch.equal(first[name], resumed[name])
        if "blocks" in name
    }
    assert all(".lora_" in n or n.startswith("blocks.1.") for n in moved)
    assert any(n.startswith("blocks.0.") for n in moved)
    assert any(".lora_" not in n for n in moved) == (trains == "last:1")

    tuned, state = train(
        "tuned", f"bridge={bridge}", "train_dataloader.dataset.ratio=0"
    )
    fixed = "backbone.language.blocks.0.qkv.base_layer.weight"
    adapter = "backbone.language.blocks.0.qkv.lora_A.default.weight"
    assert torch.equal(state[fixed], resumed[fixed])
    # It began where the bridge ended: two steps of AdamW at 0.01 lead no further.
    assert 0 < (state[adapter] - resumed[adapter]).abs().max() < 0.03
    tool("test.py", config, tuned, "--cfg-options", chosen).main()

    # Merged, it is a plain bridge of the same features.
    merged = project.root / "merged.pth"
    monkeypatch.setattr("sys.argv", ["merge_lora", str(bridge), str(merged)])
    merge_lora.main()
    plain = ["lora=None", "trains=all"]
    assert probe(merged, *plain) == probe(bridge, chosen)
    _, state = train("plain", f"bridge={merged}", *plain)
    assert not any("lora" in name for name in state)
