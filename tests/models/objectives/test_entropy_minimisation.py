"""EntropyMinimisation: what it changes, what it does not, and from which checkpoint."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint, set_random_seed
from mmpretrain.structures import DataSample
from torch.testing import assert_close

from lbbt_mm.models import EntropyMinimisation
from lbbt_mm.models.objectives.entropy_minimisation import mean_entropy

CLASSIFIER = dict(
    type="ImageClassifier",
    backbone=dict(
        type="lbbt_mm.LanguageBackbone",
        language_model="gpt2",
        pretrained=False,
        num_layers=2,
        img_size=14,
        patch_size=7,
        in_channels=1,
        drop_rate=0.1,
    ),
    head=dict(type="LinearClsHead", num_classes=5, in_channels=768, init_cfg=None),
)
BRIDGE = dict(
    type="lbbt_mm.BridgeClassifier",
    backbone=CLASSIFIER["backbone"],
    head=CLASSIFIER["head"],
    objectives=[dict(type="lbbt_mm.LabelObjective", name="random")],
)
PREPROCESSOR = dict(mean=[127.5], std=[127.5], num_classes=5)
IMAGES = torch.randint(
    0, 256, (8, 1, 14, 14), generator=torch.Generator().manual_seed(0)
).byte()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")


def build(classifier=CLASSIFIER, trainable="all", **kwargs):
    set_random_seed(3)
    classifier = copy.deepcopy(classifier)
    classifier["backbone"]["trainable_layers"] = trainable
    model = ROOT.build(
        dict(
            type="lbbt_mm.EntropyMinimisation",
            classifier=classifier,
            data_preprocessor=PREPROCESSOR,
            **kwargs,
        )
    )
    model.init_weights()
    return model


def batch():
    samples = [DataSample(sample_idx=i) for i in range(len(IMAGES))]
    return dict(inputs=IMAGES.clone(), data_samples=samples)


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items() if hasattr(v, "clone")}


def is_norm(name):
    return "_norm." in name


def entropy_of(samples):
    scores = torch.stack([sample.pred_score for sample in samples])
    return -(scores * scores.log()).sum(1).mean()


@pytest.mark.parametrize("classifier", [CLASSIFIER, BRIDGE], ids=lambda c: c["type"])
@pytest.mark.parametrize("trainable", ["all", "none", "first:1"])
def test_entropy_falls_and_only_norms_change(classifier, trainable):
    model = build(classifier, trainable, steps=3, lr=1e-2).eval()
    plain = model.classifier.predict(
        model.data_preprocessor(batch())["inputs"], batch()["data_samples"]
    )
    before = weights(model)
    with torch.no_grad():  # as mmengine's loop calls it
        found = model.test_step(batch())
    assert entropy_of(found) < entropy_of(plain) - 0.01
    changed = {k for k, v in weights(model).items() if not torch.equal(v, before[k])}
    norms = {k for k in before if is_norm(k)}
    assert len(norms) == 10 and changed == norms  # two a block, the last; a, b each
    assert not any(p.grad is not None for p in model.parameters())


def test_the_entropy_is_that_of_the_predictions():
    scores = torch.randn(6, 5)
    reference = torch.distributions.Categorical(logits=scores).entropy().mean()
    assert_close(mean_entropy(scores), reference)
    assert_close(mean_entropy(torch.zeros(2, 4)).item(), 1.3862943611)


def test_one_step_is_adam_on_the_entropy():
    model = build(lr=1e-2).eval()
    twin = copy.deepcopy(model.classifier).eval()
    norms = [p for n, p in twin.named_parameters() if is_norm(n)]
    optimizer = torch.optim.Adam(norms, lr=1e-2)
    images = model.data_preprocessor(batch())["inputs"]
    before = mean_entropy(twin(images))
    before.backward()
    optimizer.step()
    assert model.adapt(images) == pytest.approx([before.item()])
    assert_close(weights(model.classifier), weights(twin))
    # And again from there, with Adam's memory.
    optimizer.zero_grad()
    mean_entropy(twin(images)).backward()
    optimizer.step()
    model.adapt(images)
    assert_close(weights(model.classifier), weights(twin))


def test_episodes_start_from_the_same_bits_and_others_go_on():
    first, second = {}, {}
    for episodic in (True, False):
        model = build(lr=1e-2, episodic=episodic).eval()
        before = weights(model)
        for found in (first, second):
            with torch.no_grad():
                predicted = model.test_step(batch())
            found[episodic] = torch.stack([s.pred_score for s in predicted])
        model.reset()
        assert_close(weights(model), before, rtol=0, atol=0)
    assert torch.equal(first[True], second[True])
    assert torch.equal(first[True], first[False])
    assert not torch.equal(first[False], second[False])


def test_inference_mode_will_do():
    model = build().eval()
    with torch.inference_mode():
        found = model.test_step(batch())
    assert len(found) == 8


@pytest.mark.parametrize("classifier", [CLASSIFIER, BRIDGE], ids=lambda c: c["type"])
def test_the_checkpoint_is_the_classifiers_own(classifier, tmp_path):
    set_random_seed(5)
    trained = ROOT.build(copy.deepcopy(classifier))
    trained.init_weights()
    path = tmp_path / "epoch_1.pth"
    torch.save(dict(state_dict=trained.state_dict()), path)
    model = build(classifier)
    load_checkpoint(model, str(path), strict=True)
    assert_close(weights(model.classifier), weights(trained), rtol=0, atol=0)
    model = build(classifier)
    model.load_state_dict(trained.state_dict())  # torch's way, strict too
    assert_close(weights(model.classifier), weights(trained), rtol=0, atol=0)
    again = build(classifier)
    again.load_state_dict(model.state_dict())  # and its own
    assert_close(weights(again), weights(model), rtol=0, atol=0)


@pytest.mark.parametrize(
    "kwargs, message",
    [
        (dict(steps=0), "steps of 1 or more, got 0"),
        (dict(lr=0.0), "a positive lr, got 0.0"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        EntropyMinimisation(CLASSIFIER, **kwargs)


def test_what_it_is_not_for():
    with pytest.raises(RuntimeError, match="for testing only, got mode='loss': train"):
        build()(IMAGES.float(), mode="loss")
    bare = dict(
        type="ImageClassifier",
        backbone=dict(type="VGG", depth=11),
        head=dict(type="LinearClsHead", num_classes=5, in_channels=8),
    )
    with pytest.raises(ValueError, match="with norms .*, got ImageClassifier without"):
        EntropyMinimisation(bare)


def test_a_batch_without_numbers_does_not_reach_the_norms():
    model = build()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = model.data_preprocessor(dict(inputs=IMAGES, data_samples=None))["inputs"]
    images[3, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="got NaN or infinity in a batch of 8 images"):
        model(images, mode="tensor")
    assert_close(model.state_dict(), before, rtol=0, atol=0)
