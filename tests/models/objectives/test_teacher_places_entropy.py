"""A teacher, dropped positions and entropy beside random labels: what they compute."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from test_objectives import BACKBONE, HEAD, RANDOM, batch
from torch.testing import assert_close

from lbbt_mm.language import CheckpointError
from lbbt_mm.models.objectives import drop_positions
from lbbt_mm.models.objectives.entropy_minimisation import mean_entropy

ENTROPY = dict(name="entropy", type="lbbt_mm.EntropyObjective", of="random", weight=0.5)
PLACES = dict(name="places", type="lbbt_mm.DropPosObjective", mask_ratio=0.0)
TEACHER = dict(name="teacher", type="lbbt_mm.TeacherObjective")
FEW = dict(RANDOM, name="few", label="few_label")
WIDTH = 32


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, str]:
    """Small language models of three families."""
    import transformers as hf

    torch.manual_seed(0)
    sizes = dict(hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4)
    sizes |= dict(intermediate_size=48, vocab_size=96)
    made = dict(
        gpt2=hf.GPT2Model(
            hf.GPT2Config(n_embd=WIDTH, n_layer=2, n_head=4, vocab_size=96)
        ),
        bert=hf.BertModel(hf.BertConfig(**sizes)),
        llama=hf.LlamaModel(hf.LlamaConfig(**sizes)),
    )
    folder = tmp_path_factory.mktemp("models")
    for name, model in made.items():
        model.save_pretrained(folder / name)
    return {name: str(folder / name) for name in made}


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")


def build(source, objectives, seed=3, **options):
    set_random_seed(seed)
    backbone = dict(BACKBONE, language_model=source, pretrained=True, num_layers=2)
    backbone |= dict(out_type="avg", drop_rate=0.0) | options
    cfg = dict(type="lbbt_mm.BridgeClassifier", objectives=objectives)
    cfg |= dict(backbone=backbone, head=dict(HEAD, in_channels=WIDTH))
    model = ROOT.build(copy.deepcopy(cfg))
    model.init_weights()
    return model


def test_every_parameter_learns_and_nothing_is_held_twice(sources):
    model = build(sources["gpt2"], [RANDOM, ENTROPY, PLACES]).train()
    losses = model(*batch(), mode="loss")
    assert set(losses) == {
        "loss_random", "accuracy_top-1", "loss_entropy",
        "loss_places", "places_accuracy_top-1",
    }  # fmt: skip
    model.parse_losses(losses)[0].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    names = {name.rpartition(".")[0] for name in model.state_dict()}
    assert {name for name in names if name.startswith("objectives")} == {
        "objectives.random.head.fc", "objectives.places", "objectives.places.head"
    }  # fmt: skip


# -------------------------------------------------------------------------- entropy


def test_entropy_is_of_the_other_objectives_predictions(sources):
    rest = dict(ENTROPY, name="rest", of="few", images="unlabelled")
    model = build(sources["gpt2"], [RANDOM, FEW, ENTROPY, rest]).eval()
    images, samples = batch(few_label=[-1, 3, -1, 2, -1, -1])
    found = model(images, samples, mode="loss")
    feats = model.extract_feat(images)
    scores = model.objectives.random.head(feats)
    assert_close(found["loss_entropy"], mean_entropy(scores) * 0.5)
    scores = model.objectives.few.head(feats)[[0, 2, 4, 5]]
    assert_close(found["loss_rest"], mean_entropy(scores) * 0.5)
    twice = model(torch.cat([images, images]), samples, mode="loss")
    assert_close(twice["loss_rest"], found["loss_rest"])
    # All labelled: zero, through the head.
    _, samples = batch(few_label=[1] * 6)
    loss = model(images, samples, mode="loss")["loss_rest"]
    assert loss == 0 and loss.requires_grad


def test_it_lowers_entropy_and_a_copy_has_its_own_head(sources):
    model = build(sources["gpt2"], [RANDOM, ENTROPY]).train()
    other = copy.deepcopy(model)  # as EMA makes one
    (bound,) = other.objectives.entropy._bound
    assert bound is other.objectives.random
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, samples = batch()
    losses = []
    for _ in range(4):
        found = model(images, samples, mode="loss")
        losses.append(float(found["loss_entropy"].detach()))
        optimizer.zero_grad()
        found["loss_entropy"].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(of="nix"), r"one of \['random'\], got 'nix'"),
        (dict(images="some"), "images='all' or 'unlabelled', got 'some'"),
        (dict(images="unlabelled"), "'random' has a label for each"),
        (dict(weight=-1), "weight of 0 or more"),
    ],
)
def test_entropy_of_what_is_not_there(sources, options, message):
    with pytest.raises(ValueError, match=message):
        build(sources["gpt2"], [RANDOM, ENTROPY | options])


# ------------------------------------------------------------------- dropped positions

ORDERS = torch.tensor([[0.0, 0.1, 0.2, 0.3], [0.0, 0.1, 0.3, 0.2]])  # argsort: places


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {}),
        ("gpt2", dict(prefix_tokens="new")),
        ("gpt2", dict(position="learned", prefix_tokens="new")),
        ("bert", {}),
        ("llama", dict(position="sincos2d")),
        ("gpt2", dict(out_indices=0)),
    ],
)
def test_no_patch_can_tell_where_it_was_but_by_its_content(
    sources, family, options, monkeypatch
):
    model = build(sources[family], [dict(PLACES, drop_ratio=0.5)], **options).eval()
    objective = model.objectives.places
    monkeypatch.setattr(drop_positions.torch, "rand", lambda *a, **k: ORDERS.clone())
    hidden, places = objective._hidden(torch.full((2, 1, 14, 14), 0.7))
    assert places.tolist() == [[2, 3], [3, 2]]
    # One picture without content, the dropped places exchanged: nothing differs.
    assert_close(hidden[0], hidden[1], rtol=0, atol=1e-6)
    # And content does tell.
    hidden, _ = objective._hidden(torch.randn(2, 1, 14, 14))
    assert (hidden[0] - hidden[1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {}),
        ("gpt2", dict(prefix_tokens="new")),
        ("bert", dict(position="learned", prefix_tokens="new")),
    ],
)
def test_with_the_right_position_it_is_the_backbone(
    sources, family, options, monkeypatch
):
    options = options | dict(out_type="raw")
    model = build(sources[family], [dict(PLACES, drop_ratio=0.25)], **options).eval()
    objective, backbone = model.objectives.places, model.backbone
    assert objective.kept == 3
    embed = backbone.patch_embed
    if embed.positions is not None:
        row = embed.places(embed.grid)[3]
    else:
        row = backbone.language.position_rows(4 + (backbone.prefix is not None))[-1]
    objective.no_position.data.copy_(row.detach())
    images = torch.randn(2, 1, 14, 14)
    monkeypatch.setattr(
        drop_positions.torch, "rand", lambda *a, **k: ORDERS[:1].repeat(2, 1)
    )
    hidden, _ = objective._hidden(images)
    assert_close(hidden, backbone(images)[0][:, 3:], rtol=1e-4, atol=1e-5)


def test_some_patches_are_left_out(sources):
    small = dict(img_size=28, patch_size=7)
    model = build(
        sources["bert"], [dict(PLACES, mask_ratio=0.5, drop_ratio=0.75)], **small
    )
    hidden, places = model.objectives.places._hidden(torch.randn(3, 1, 28, 28))
    assert hidden.shape == (3, 6, WIDTH) and places.shape == (3, 6)
    assert all(len(set(row)) == 6 for row in places.tolist())
    assert places[0].tolist() != places[1].tolist()
    with pytest.raises(ValueError, match="set img_size to the images' size"):
        model.objectives.places._hidden(torch.randn(3, 1, 14, 14))


@pytest.mark.parametrize(
    ("family", "options", "objective", "message"),
    [
        ("llama", {}, {}, "inside its attention, as distances.*take position='sin"),
        ("gpt2", dict(position="none"), {}, "leaves nothing to drop: take position"),
        (
            "gpt2",
            dict(window_size=1, global_blocks=[1]),
            {},
            "which window_size cuts by their places",
        ),
        ("gpt2", {}, dict(drop_ratio=1.0), "leave some of the 4 patches"),
        ("gpt2", {}, dict(mask_ratio=0.75), "leave some of the 4 patches"),
        ("gpt2", {}, dict(drop_ratio=0.0), "leave some of the 4 patches"),
    ],
)
def test_positions_that_cannot_be_dropped(sources, family, options, objective, message):
    with pytest.raises(ValueError, match=message):
        build(sources[family], [PLACES | objective], **options)


# -------------------------------------------------------------------------- teacher


@pytest.fixture
def bridge(sources, tmp_path) -> str:
    """The checkpoint of a bridge, from another seed."""
    model = build(sources["gpt2"], [RANDOM], seed=7)
    path = tmp_path / "bridge.pth"
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


@pytest.mark.parametrize("distance", ["mse", "cosine"])
def test_the_loss_is_the_distance_to_the_bridges_features(sources, bridge, distance):
    taught = dict(TEACHER, checkpoint=bridge, distance=distance, weight=0.5)
    model = build(sources["gpt2"], [RANDOM, taught]).train()
    theirs = build(sources["gpt2"], [RANDOM], seed=7).eval()
    images, samples = batch()
    loss = model(images, samples, mode="loss")["loss_teacher"]
    own, other = (m.extract_feat(images)[-1] for m in (model, theirs))
    wanted = (own - other).square().mean()
    if distance == "cosine":
        wanted = 1 - torch.cosine_similarity(own, other, dim=1).mean()
    assert_close(loss, wanted * 0.5)
    loss.backward()
    (teacher,) = model.objectives.teacher._teacher
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    assert model.backbone.patch_embed.projection.weight.grad.abs().sum() > 0
    assert not any("teacher._" not in n for n in model.state_dict() if "teacher" in n)


def test_a_teacher_has_no_dropout_and_is_copied_with_the_model(sources, bridge):
    noisy = dict(drop_rate=0.5)
    model = build(sources["gpt2"], [dict(TEACHER, checkpoint=bridge)], **noisy).train()
    model.backbone.eval()
    images, samples = batch()
    assert_close(
        model(images, samples, mode="loss"), model(images, samples, mode="loss")
    )
    copied = copy.deepcopy(model)
    (theirs,) = copied.objectives.teacher._teacher
    assert theirs is not model.objectives.teacher._teacher[0]
    assert copied.objectives.teacher._student[0] is copied.backbone


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(attention="bidirectional"), "attention='causal' there, 'bidirectional'"),
        (dict(num_layers=1), "is not the one in the config"),
        (dict(patch_size=14), "patch embedding is 1x7x7"),
        (dict(prefix_tokens="new"), "prefix_tokens=None there, 'new' here"),
        (dict(out_type="last"), "out_type='avg' there, 'last' here"),
    ],
)
def test_a_teacher_with_other_settings(sources, bridge, options, message):
    with pytest.raises(CheckpointError, match=message):
        build(sources["gpt2"], [dict(TEACHER, checkpoint=bridge)], **options)


def test_a_teacher_that_is_not_there(sources, bridge, tmp_path):
    with pytest.raises(CheckpointError, match="by the same config without a teacher"):
        build(sources["gpt2"], [dict(TEACHER, checkpoint=str(tmp_path / "nix.pth"))])
    with pytest.raises(ValueError, match="distance='mse' or 'cosine', got 'l1'"):
        build(sources["gpt2"], [dict(TEACHER, checkpoint=bridge, distance="l1")])
    model = build(sources["gpt2"], [dict(TEACHER, checkpoint=bridge)])
    model.objectives.teacher._teacher = ()
    with pytest.raises(CheckpointError, match="Sharded training, .* has no teacher"):
        model(*batch(), mode="loss")
