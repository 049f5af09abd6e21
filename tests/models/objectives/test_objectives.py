"""BridgeClassifier: one shape for one objective and for mixes of them."""

from __future__ import annotations

import copy
import re

import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmengine.runner import set_random_seed
from mmpretrain.models import LinearClsHead, NonLinearNeck
from mmpretrain.models.selfsup import SimCLR
from mmpretrain.structures import DataSample
from torch.nn.functional import cross_entropy
from torch.testing import assert_close

from lbbt_mm.models import BridgeClassifier
from lbbt_mm.models.objectives.objectives import similarities

BACKBONE = dict(
    type="lbbt_mm.LanguageBackbone",
    language_model="gpt2",
    pretrained=False,
    num_layers=1,
    img_size=14,
    patch_size=7,
    in_channels=1,
)
HEAD = dict(
    type="LinearClsHead",
    num_classes=10,
    in_channels=768,
    cal_acc=True,
    loss=dict(type="LabelSmoothLoss", label_smooth_val=0.1, mode="original"),
    init_cfg=dict(type="Normal", layer="Linear", std=0.02),
)
RANDOM = dict(type="lbbt_mm.LabelObjective", name="random")
INSTANCE = dict(type="lbbt_mm.LabelObjective", name="instance", num_classes=50)
ROTATION = dict(
    type="lbbt_mm.LabelObjective", name="rotation", num_classes=4, label="turn"
)
FEW = dict(type="lbbt_mm.LabelObjective", name="few", label="few_label")
SIMCLR = dict(
    type="lbbt_mm.ContrastiveObjective",
    name="simclr",
    neck=dict(
        type="NonLinearNeck",
        hid_channels=16,
        out_channels=8,
        with_avg_pool=False,
        norm_cfg=dict(type="BN1d"),
    ),
    head=dict(
        type="ContrastiveHead", loss=dict(type="CrossEntropyLoss"), temperature=0.1
    ),
)


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")


def build(objectives, seed=3, **kwargs):
    set_random_seed(seed)
    cfg = dict(type="lbbt_mm.BridgeClassifier", backbone=BACKBONE, head=HEAD)
    model = ROOT.build(copy.deepcopy(dict(cfg, objectives=objectives, **kwargs)))
    model.init_weights()
    return model


def batch(views=1, count=6, **fields):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(views * count, 1, 14, 14, generator=generator)
    samples = []
    for i in range(count):
        sample = DataSample().set_gt_label(i % 10)
        for field, values in fields.items():
            sample.set_field(values[i], field)
        samples.append(sample)
    return images, samples


# ------------------------------------------------------------------- the same shape


def test_random_labels_are_the_image_classifier_to_the_bit():
    set_random_seed(3)
    plain = ROOT.build(
        copy.deepcopy(dict(type="ImageClassifier", backbone=BACKBONE, head=HEAD))
    )
    plain.init_weights()
    ours = build([RANDOM])
    theirs = {
        re.sub(r"^head\.", "objectives.random.head.", k): v
        for k, v in plain.state_dict().items()
    }
    assert_close(dict(ours.state_dict()), theirs, rtol=0, atol=0)
    images, samples = batch()
    logs = []
    for model in (plain, ours):
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), lr=1e-3))
        set_random_seed(1)  # of the dropout
        data = dict(inputs=images.clone(), data_samples=copy.deepcopy(samples))
        logs.append([model.train().train_step(data, wrapper) for _ in range(3)])
    for theirs, ours_ in zip(*logs, strict=True):
        assert torch.equal(theirs["loss"], ours_["loss"])
        assert torch.equal(ours_["loss"], ours_["loss_random"])
        assert theirs["accuracy_top-1"] == ours_["accuracy_top-1"]
    # Not the loss alone: gradients went through the same weights.
    assert torch.equal(plain.head.fc.weight, ours.objectives.random.head.fc.weight)
    found = dict(ours.backbone.named_parameters())
    name = next(n for n in found if n.startswith("patch_embed"))
    assert torch.equal(dict(plain.backbone.named_parameters())[name], found[name])
    predicted = [
        m.eval().predict(images, copy.deepcopy(samples)) for m in (plain, ours)
    ]
    for one, other in zip(*predicted, strict=True):
        assert torch.equal(one.pred_score, other.pred_score)


@pytest.mark.parametrize(
    "objectives, keys",
    [
        ([INSTANCE], {"loss_instance", "accuracy_top-1"}),
        ([ROTATION], {"loss_rotation", "accuracy_top-1"}),
        (
            [RANDOM, dict(ROTATION, weight=0.5)],
            {
                "loss_random",
                "accuracy_top-1",
                "loss_rotation",
                "rotation_accuracy_top-1",
            },
        ),
        (
            [RANDOM, FEW],
            {"loss_random", "accuracy_top-1", "loss_few", "few_accuracy_top-1"},
        ),
        ([SIMCLR], {"loss_simclr"}),
        ([RANDOM, SIMCLR], {"loss_random", "accuracy_top-1", "loss_simclr"}),
    ],
    ids=lambda v: "+".join(o["name"] for o in v) if isinstance(v, list) else "",
)
def test_every_parameter_learns_in_every_objective(objectives, keys):
    # So DDP needs no find_unused_parameters.
    model = build(objectives).train()
    views = 2 if SIMCLR in objectives else 1
    images, samples = batch(
        views, turn=[0, 1, 2, 3, 0, 1], few_label=[-1, 3, -1, 2, -1, -1]
    )
    losses = model(images, samples, mode="loss")
    assert set(losses) == keys
    total, log = model.parse_losses(losses)
    assert torch.isfinite(total)
    expected = sum(v for k, v in losses.items() if k.startswith("loss"))
    assert_close(total, expected)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert len(log) == len(keys) + 1


def test_widths_come_from_the_backbone_and_the_objective():
    model = build([RANDOM, INSTANCE, ROTATION, SIMCLR])
    heads = {n: o.head for n, o in model.objectives.items()}
    shapes = {n: tuple(heads[n].fc.weight.shape) for n in ("random", "instance")}
    assert shapes == dict(random=(10, 768), instance=(50, 768))
    assert model.objectives.simclr.neck.fc0.in_features == 768
    own = dict(type="LinearClsHead", num_classes=7, init_cfg=None)
    model = build([dict(RANDOM, head=own)], head=None)
    assert model.objectives.random.head.fc.weight.shape == (7, 768)


def test_weights_scale_the_loss_only():
    images, samples = batch()
    one = build([RANDOM]).eval()(images, samples, mode="loss")
    other = build([dict(RANDOM, weight=0.25)]).eval()(images, samples, mode="loss")
    assert_close(other["loss_random"], one["loss_random"] * 0.25)
    assert_close(other["accuracy_top-1"], one["accuracy_top-1"])


# ----------------------------------------------------------------------- its terms


def test_a_few_true_labels_enter_their_term_and_no_other_image_does():
    model = build([RANDOM, FEW]).eval()
    values = [-1, 3, -1, 2, -1, -1]
    images, samples = batch(few_label=values)
    losses = model(images, samples, mode="loss")
    with torch.no_grad():
        scores = model.objectives.few.head(model.extract_feat(images))
    smoothed = cross_entropy(scores[[1, 3]], torch.tensor([3, 2]), label_smoothing=0.1)
    assert_close(losses["loss_few"], smoothed)
    both = scores[[1, 3]].argmax(1) == torch.tensor([3, 2])
    (accuracy,) = losses["few_accuracy_top-1"]
    assert accuracy.item() == 100 * both.float().mean().item()
    images[0] += 1.0
    assert_close(model(images, samples, mode="loss")["loss_few"], losses["loss_few"])


def test_a_batch_without_a_true_label_still_reaches_every_parameter():
    model = build([RANDOM, FEW]).train()
    losses = model(*batch(few_label=[-1] * 6), mode="loss")
    assert losses["loss_few"] == 0 and "few_accuracy_top-1" not in losses
    model.parse_losses(losses)[0].backward()
    weight = model.objectives.few.head.fc.weight
    assert weight.grad is not None and not weight.grad.any()


def test_two_views_have_the_label_of_their_image():
    model = build([RANDOM, FEW]).eval()
    values = [-1, 3, -1, 2, -1, -1]
    images, samples = batch(few_label=values)
    once = model(images, samples, mode="loss")
    twice = model(torch.cat([images, images]), samples, mode="loss")
    assert_close(twice, once)


def test_the_contrastive_term_is_that_of_mmpretrain():
    model = build([SIMCLR]).train()
    images, samples = batch(views=2)
    reference = SimCLR(backbone=BACKBONE, neck=dict(SIMCLR["neck"], in_channels=768),
                       head=SIMCLR["head"])  # fmt: skip
    reference.backbone.load_state_dict(model.backbone.state_dict())
    reference.neck.load_state_dict(model.objectives.simclr.neck.state_dict())
    reference.train()
    model.backbone.eval()  # dropout would not meet the same images in another order
    reference.backbone.eval()
    expected = reference.loss([images[:6], images[6:]], samples)["loss"]
    loss = model(images, samples, mode="loss")["loss_simclr"]
    assert_close(loss, expected)
    expected.backward()
    loss.backward()
    assert_close(
        model.objectives.simclr.neck.fc0.weight.grad, reference.neck.fc0.weight.grad
    )


def test_similarities_on_three_images_by_hand():
    first = torch.eye(3)
    second = torch.tensor([[1.0, 0, 0], [0, 0, 2.0], [0, 0, -1.0]])
    positive, negative = similarities(torch.cat([first, second]))
    # Image by image: its first view, then its second one.
    assert_close(positive[:, 0], torch.tensor([1.0, 1, 0, 0, -1, -1]))
    assert negative.shape == (6, 4)
    # The second view of image 1 is as the first of image 2, against its second.
    assert_close(negative[3], torch.tensor([0.0, 0, 1, -1]))


# --------------------------------------------------------------------- predictions


def test_the_first_that_classifies_predicts_or_the_one_that_is_asked_for():
    images, samples = batch()
    for options, classes in ((dict(), 4), (dict(predict_with="few"), 10)):
        model = build([SIMCLR, ROTATION, FEW], **options).eval()
        found = model(images, copy.deepcopy(samples), mode="predict")
        assert found[0].pred_score.shape == (classes,)
        assert model(images, mode="tensor").shape == (6, classes)
        assert model.extract_feat(images, stage="pre_logits").shape == (6, 768)
    model = build([SIMCLR]).eval()
    with pytest.raises(TypeError, match=r"\['simclr'\], which predict nothing; train"):
        model(images, samples, mode="predict")


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "objectives, kwargs, message",
    [
        ([], {}, r"each with a name such as 'random', got the names \[\]"),
        ([dict(type="lbbt_mm.LabelObjective")], {}, r"got the names \[None\]"),
        ([RANDOM, RANDOM], {}, "different names without 'loss'"),
        ([dict(RANDOM, name="lossy")], {}, "different names without 'loss'"),
        ([RANDOM], dict(predict_with="few"), r"one of \['random'\], got 'few'"),
        ([SIMCLR], dict(predict_with="simclr"), r"one of \[\], got 'simclr'"),
    ],
)
def test_bad_arguments(objectives, kwargs, message):
    with pytest.raises(ValueError, match=message):
        BridgeClassifier(BACKBONE, objectives, head=HEAD, **kwargs)


def test_bad_weights():
    # mmengine puts its own sentence before ours.
    for weight in (-1, float("nan"), "1", True):
        with pytest.raises(ValueError, match="expects a weight of 0 or more, got"):
            build([dict(RANDOM, weight=weight)])


def test_bad_batches():
    images, samples = batch(turn=[0, 1, 2, 3, 4, 0])
    with pytest.raises(ValueError, match="'turn' below the head's 4 classes, got 4"):
        build([ROTATION])(images, samples, mode="loss")
    with pytest.raises(ValueError, match=r"'few_label' in each data sample, got \["):
        build([FEW])(images, samples, mode="loss")
    with pytest.raises(ValueError, match="two views of each image, got 1: put dict"):
        build([SIMCLR])(images, samples, mode="loss")
    with pytest.raises(ValueError, match="got 6 views of 4 images"):
        build([RANDOM])(images, samples[:4], mode="loss")


def test_reference_classes_are_mmpretrains():
    model = build([RANDOM, SIMCLR])
    assert type(model.head) is LinearClsHead
    assert type(model.objectives.simclr.neck) is NonLinearNeck
