"""LanguageInitHook in real Runners of mmseg and mmdet."""

from __future__ import annotations

import copy
import json
import shutil

import pytest
import torch
import vision_runs
from mmengine.hooks import Hook
from mmengine.runner import FlexibleRunner, Runner
from torch.testing import assert_close

from lbbt_mm.hooks import LanguageInitHook
from lbbt_mm.language import CheckpointError, open_checkpoint
from lbbt_mm.transplant import TransplantError, make_plan


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> str:
    return vision_runs.save_bert(tmp_path_factory.mktemp("bert"))


def train(cfg, name: str = "run", hooks: tuple[Hook, ...] = ()):
    """Train; return the runner and the weights before the first batch."""
    cfg = copy.deepcopy(cfg)
    cfg.experiment_name = name
    runner = Runner.from_cfg(cfg)
    snapshot = vision_runs.Snapshot()
    for hook in (snapshot, *hooks):
        runner.register_hook(hook)
    runner.train()
    return runner, snapshot.state


def expected(task: str, model, language_model: str) -> dict[str, torch.Tensor]:
    """Every mapped tensor, made independently of what the hook did."""
    checkpoint = open_checkpoint(language_model)
    plan = make_plan(model, checkpoint, **vision_runs.COPIES[task])
    tensors = {}
    for row in plan.rows:
        part = checkpoint.block(row.block)[row.part]
        tensors[row.parameter] = part[slice(*row.rows)]
    return tensors


def assert_copied(state, tensors) -> None:
    assert len(tensors) > 20
    for name, tensor in tensors.items():
        assert_close(state[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("task", ["segmenter", "detr"])
def test_the_first_batch_finds_the_language_model(task, bert, tmp_path) -> None:
    cfg = vision_runs.config(task, bert, tmp_path)
    runner, state = train(cfg)
    assert_copied(state, expected(task, runner.model, bert))

    report = json.loads((tmp_path / "language_init.json").read_text())
    assert report["source"] == bert and len(report["sha256"]) == 64
    assert {row["parameter"] for row in report["copied"]} == set(
        expected(task, runner.model, bert)
    )
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "tensors copied" in log and report["sha256"] in log
    if task == "segmenter":
        assert "inexact, accepted: norm_order" in log
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    assert saved["meta"]["language_init"] == [
        dict(label=report["label"], sha256=report["sha256"])
    ]
    assert "init_weights" not in vars(runner.model)


def test_only_the_mapped_tensors_differ_from_scratch(bert, tmp_path) -> None:
    cfg = vision_runs.config("detr", bert, tmp_path / "language")
    runner, language = train(cfg)
    cfg.custom_hooks[0].update(pretrained=False, language_model="never/read")
    cfg.work_dir = str(tmp_path / "scratch")
    _, scratch = train(cfg, "scratch")
    mapped = expected("detr", runner.model, bert)
    differing = {
        name for name in scratch if not torch.equal(scratch[name], language[name])
    }
    assert differing <= set(mapped)
    # Biases and norms may start with the same zeros and ones.
    assert {name for name in mapped if mapped[name].ndim == 2} <= differing


def test_load_from_comes_after_the_copy(bert, tmp_path) -> None:
    cfg = vision_runs.config("segmenter", bert, tmp_path / "one")
    runner, _ = train(cfg)
    mapped = sorted(expected("segmenter", runner.model, bert))
    held = mapped[: len(mapped) // 2]
    state = {
        name: torch.full_like(runner.model.state_dict()[name], 0.5) for name in held
    }
    torch.save(dict(state_dict=state), tmp_path / "half.pth")
    cfg.load_from, cfg.work_dir = str(tmp_path / "half.pth"), str(tmp_path / "two")
    runner, first = train(cfg, "two")
    tensors = expected("segmenter", runner.model, bert)
    assert_copied(first, {**tensors, **state})


def test_resuming_copies_nothing_and_needs_no_file(bert, tmp_path) -> None:
    source = tmp_path / "bert"
    shutil.copytree(bert, source)
    cfg = vision_runs.config("segmenter", str(source), tmp_path / "work")
    train(cfg)
    report = (tmp_path / "work" / "language_init.json").read_text()
    saved = torch.load(tmp_path / "work" / "epoch_1.pth", weights_only=False)
    shutil.rmtree(source)
    cfg.resume, cfg.train_cfg.max_epochs = True, 2
    runner, state = train(cfg, "again")
    assert runner.epoch == 2
    for name, tensor in saved["state_dict"].items():
        assert_close(state[name], tensor, rtol=0, atol=0)
    log = max((tmp_path / "work").glob("*/*.log")).read_text()
    assert "resumed, so nothing is copied" in log
    hooks = [hook for hook in runner.hooks if isinstance(hook, LanguageInitHook)]
    assert [hook.report for hook in hooks] == [None]
    assert (tmp_path / "work" / "language_init.json").read_text() == report
    # Where the weights come from is not forgotten.
    later = torch.load(tmp_path / "work" / "epoch_2.pth", weights_only=False)
    assert later["meta"]["language_init"] == saved["meta"]["language_init"]


def test_resuming_from_nothing_is_a_fresh_start(bert, tmp_path) -> None:
    cfg = vision_runs.config("segmenter", bert, tmp_path, resume=True)
    runner, state = train(cfg)
    assert_copied(state, expected("segmenter", runner.model, bert))


class ValidateFirst(Hook):
    """Validates before the first iteration, and keeps what was validated."""

    priority = "LOWEST"

    def before_train(self, runner) -> None:
        runner.val_loop.run()

    def before_val_iter(self, runner, batch_idx, data_batch=None) -> None:
        if not hasattr(self, "state"):
            self.state = copy.deepcopy(runner.model.state_dict())


@pytest.mark.parametrize(
    ("pretrained", "task"),
    [(True, "segmenter"), (True, "detr"), (False, "segmenter")],
)
def test_ema_starts_from_what_training_starts_from(
    pretrained, task, bert, tmp_path
) -> None:
    cfg = vision_runs.config(task, bert, tmp_path)
    cfg.custom_hooks[0].pretrained = pretrained
    cfg.custom_hooks.append(dict(type="EMAHook", momentum=0.5))
    first = ValidateFirst()
    runner, state = train(cfg, hooks=(first,))
    assert_close(first.state, state, rtol=0, atol=0)
    if not pretrained:
        return
    assert_copied(state, expected(task, runner.model, bert))
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == "EMAHook")
    twin = ema.ema_model.module
    assert twin.init_weights._model is twin, "the twin fills itself, not the model"


@pytest.mark.parametrize("pretrained", [True, False])
def test_resumed_ema_goes_on_from_the_checkpoint(pretrained, bert, tmp_path) -> None:
    cfg = vision_runs.config("segmenter", bert, tmp_path)
    cfg.custom_hooks[0].pretrained = pretrained
    cfg.custom_hooks.append(dict(type="EMAHook", momentum=0.5))
    train(cfg)
    saved = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    cfg.resume, cfg.train_cfg.max_epochs = True, 2
    first = ValidateFirst()
    _, state = train(cfg, "again", hooks=(first,))
    # EMAHook saves the average as the model, and the model beside it.
    assert_close(first.state, saved["state_dict"], rtol=0, atol=0)
    model = {f"module.{name}": tensor for name, tensor in state.items()}
    for name, tensor in model.items():
        assert_close(saved["ema_state_dict"][name], tensor, rtol=0, atol=0)
    assert any(not torch.equal(first.state[name], state[name]) for name in state)


def test_a_second_init_weights_copies_again(bert, tmp_path) -> None:
    class Again(Hook):
        def before_train(self, runner) -> None:
            runner.model.init_weights()

    # DETR's own init_weights fills its transformer anew.
    runner, state = train(vision_runs.config("detr", bert, tmp_path), hooks=(Again(),))
    assert_copied(state, expected("detr", runner.model, bert))


def test_two_hooks_fill_two_parts(bert, tmp_path) -> None:
    cfg = vision_runs.config("detr", bert, tmp_path)
    other = vision_runs.save_bert(tmp_path / "other")
    encoder, decoder = cfg.custom_hooks[0].copies
    cfg.custom_hooks[0].copies = [encoder]
    cfg.custom_hooks.append(
        dict(cfg.custom_hooks[0], language_model=other, copies=[decoder])
    )
    runner, state = train(cfg)
    assert_copied(state, expected("detr", runner.model, bert))
    sources = [
        json.loads((tmp_path / name).read_text())["source"]
        for name in ("language_init.json", "language_init_1.json")
    ]
    assert sources == [bert, other]
    assert "init_weights" not in vars(runner.model)


def test_two_hooks_do_not_fill_one_layer(bert, tmp_path) -> None:
    """The second would win, and both would report a copy."""
    cfg = vision_runs.config("segmenter", bert, tmp_path)
    (group, *_) = cfg.custom_hooks[0].copies
    second = dict(cfg.custom_hooks[0])
    second["copies"] = [dict(group, module=f"{group['module']}.0", blocks=1)]
    cfg.custom_hooks.append(second)
    with pytest.raises(
        TransplantError, match=r"filled twice, by hook 1 \(.*\) and by hook 2"
    ):
        train(cfg)
    cfg.custom_hooks[1]["pretrained"] = False
    runner, state = train(cfg, "one")
    assert_copied(state, expected("segmenter", runner.model, bert))


def test_validation_alone_needs_no_language_model(tmp_path) -> None:
    cfg = vision_runs.config("segmenter", str(tmp_path / "gone"), tmp_path)
    runner = Runner.from_cfg(cfg)
    assert runner.val()["images"] == 4
    assert "init_weights" not in vars(runner.model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(copies=[]), "copies is empty"),
        (dict(copies=[dict(module="decode_head.layer")]), "did you mean"),
        (dict(accept=[]), "add 'norm_order' to accept"),
    ],
)
def test_a_plan_that_does_not_work_out_stops_the_run(
    change, words, bert, tmp_path
) -> None:
    cfg = vision_runs.config("segmenter", bert, tmp_path)
    cfg.custom_hooks[0].update(change)
    with pytest.raises(TransplantError, match=words):
        train(cfg)
    assert not (tmp_path / "language_init.json").exists()


def test_a_full_disk_costs_the_report_not_the_run(bert, tmp_path, monkeypatch) -> None:
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lbbt_mm.hooks.language_init.write_whole", full)
    train(vision_runs.config("segmenter", bert, tmp_path))
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "could not be written" in log and "No space left" in log


def test_the_flexible_runner_is_refused(bert, tmp_path) -> None:
    cfg = vision_runs.config("segmenter", bert, tmp_path)
    cfg.strategy, cfg.env_cfg = dict(type="SingleDeviceStrategy"), {}
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    with pytest.raises(TransplantError, match="expects mmengine's Runner"):
        FlexibleRunner.from_cfg(cfg).train()


def test_load_from_needs_no_language_model_if_it_fills_the_layers(
    bert, tmp_path
) -> None:
    first, _ = train(vision_runs.config("segmenter", bert, tmp_path / "first"))
    trained = copy.deepcopy(first.model.state_dict())
    whole = tmp_path / "first" / "epoch_1.pth"
    gone = str(tmp_path / "gone")
    cfg = vision_runs.config("segmenter", gone, tmp_path / "second")
    cfg.load_from = str(whole)
    _, state = train(cfg, "second")
    names = expected("segmenter", first.model, bert)
    assert_copied(state, {name: trained[name] for name in names})
    saved = torch.load(tmp_path / "second" / "epoch_1.pth", weights_only=False)
    origin = torch.load(whole, weights_only=False)["meta"]["language_init"]
    assert saved["meta"]["language_init"] == origin
    # One without these layers does not take the language model's place.
    torch.save(dict(state_dict={"other": torch.zeros(1)}), tmp_path / "part.pth")
    cfg.load_from = str(tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match="There is no file or folder .*gone"):
        train(cfg, "third")
    # Nor does a whole one, for layers that no path names.
    cfg.load_from = str(whole)
    for group in cfg.custom_hooks[0].copies:
        group.module = "decode_head.no_such"
    with pytest.raises(CheckpointError, match="There is no file or folder .*gone"):
        train(cfg, "fourth")


def test_a_selection_in_a_run(bert, tmp_path) -> None:
    """The backbone is half as wide as the language model, with half of its heads."""
    cfg = vision_runs.config("segmenter", bert, tmp_path)
    hook = cfg.custom_hooks[0]
    fields = dict(positions="backbone.pos_embed", fit="select", blocks=0)
    hook.copies = [dict(module="backbone.layers", **fields)]
    hook.accept = ["width", "norm_order", "norm_eps"]
    _, state = train(cfg)
    checkpoint = open_checkpoint(bert)
    table = checkpoint.positions()[: state["backbone.pos_embed"].shape[1], ::2]
    assert torch.equal(state["backbone.pos_embed"][0], table)
    up = state["backbone.layers.0.ffn.layers.0.0.weight"]
    assert torch.equal(up, checkpoint.block(0)["up.weight"][::2, ::2])
    report = json.loads((tmp_path / "language_init.json").read_text())
    (name, channels), _ = report["selections"].items()
    assert name == "16 channels, 2 heads of 8, 64 hidden channels"
    assert channels["stream"] == list(range(0, 32, 2))
    assert channels["heads"] == [list(range(8)), list(range(16, 24))]
    # A checkpoint without the positions does not take the language model's place.
    trained = torch.load(tmp_path / "epoch_1.pth", weights_only=False)
    cfg.load_from = str(tmp_path / "part.pth")
    hook.language_model = str(tmp_path / "gone")
    torch.save(trained, cfg.load_from)
    train(cfg, "second")
    del trained["state_dict"]["backbone.pos_embed"]
    torch.save(trained, cfg.load_from)
    with pytest.raises(CheckpointError, match="There is no file or folder .*gone"):
        train(cfg, "third")
