"""Every text model of transformers: as transformers computes it, or refused by name."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
import torch
from registry import (
    ONE_WAY,
    WIDTH,
    families,
    model_types,
    reason,
    reference,
    stack_of,
    ways,
)

from lbbt_mm.language.errors import CheckpointError
from lbbt_mm.language.fallback_checkpoint import FallbackCheckpoint
from lbbt_mm.language.fallback_config import encoder_of

DOCS = Path(__file__).parents[2] / "docs" / "language_models.md"


def rows_of_the_docs() -> list[tuple[str, str]]:
    return re.findall(r"^\| (.+?) \| (.+) \|$", DOCS.read_text(), re.MULTILINE)


def documented() -> dict[str, str]:
    """Read model type -> ``'causal'``, ``'bidirectional'`` or why it is refused."""
    rows = rows_of_the_docs()
    found: dict[str, str] = {}
    for left, right in rows:
        if left in ("causal", "bidirectional"):
            found |= dict.fromkeys(re.findall(r"`(.+?)`", right), left)
        elif re.fullmatch(r"`.+`", left):
            found[left.strip("`")] = right
    return found


def test_the_docs_have_the_table_of_the_families_by_table():
    assert families() in DOCS.read_text()


def test_the_docs_name_every_text_model_of_the_installed_transformers():
    assert set(model_types()) <= set(documented())


@pytest.mark.parametrize("model_type", model_types())
def test_a_model_type_computes_what_transformers_does(model_type):
    said = documented()[model_type]
    try:
        model = stack_of(model_type)
    except CheckpointError as error:
        assert said == reason(error)
        return
    assert said == ways(model)[0]
    whole = reference(model.config)
    weights = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    model.load(FallbackCheckpoint("a test", model.config, weights))
    theirs = encoder_of(whole)
    model.eval()
    assert "transformers" in model.config.to_dict()
    tokens = torch.randn(2, 13, WIDTH)  # more than the windows and chunks
    ours_in, theirs_in = (tokens.clone().requires_grad_() for _ in range(2))
    takes = inspect.signature(theirs.forward).parameters
    uncached = {"use_cache": False} if "use_cache" in takes else {}
    expected = theirs(inputs_embeds=theirs_in * 1, **uncached).last_hidden_state
    found = model(ours_in)
    torch.testing.assert_close(found, expected)
    # Of two tokens and weights, what a sum of norms would hide.
    weighting = torch.randn(WIDTH)
    (expected * weighting).sum().backward()
    (found * weighting).sum().backward()
    torch.testing.assert_close(ours_in.grad, theirs_in.grad)
    gradients = (
        sum(
            float(p.grad.double().norm())
            for p in side.parameters()
            if p.grad is not None
        )
        for side in (model, theirs)
    )
    assert next(gradients) == pytest.approx(next(gradients), rel=1e-5)
    around = [*model.embed_norm.parameters(), *model.final_norm.parameters()]
    assert all(parameter.grad is not None for parameter in around)


WAYS = ("causal", "bidirectional")
RUN = [name for name, said in documented().items() if said in WAYS]


@pytest.mark.parametrize("model_type", [n for n in model_types() if n in RUN])
def test_the_other_attention_is_that_or_refused(model_type):
    """Found out with four tokens, and true of more than windows and chunks hold."""
    other = {"causal": "bidirectional", "bidirectional": "causal"}
    wanted = other[documented()[model_type]]
    one_way = re.findall(r"`(.+?)`", dict(rows_of_the_docs())[ONE_WAY])
    try:
        model = stack_of(model_type, wanted).eval()
    except CheckpointError as error:
        assert f"attention='{wanted}'" in str(error) and model_type in one_way
        return
    assert model_type not in one_way and ways(model)[0] == wanted
    x = torch.randn(1, 13, WIDTH, requires_grad=True)
    rows = (model(x)[0] * torch.randn(WIDTH)).sum(-1)
    grads = [torch.autograd.grad(row, x, retain_graph=True)[0][0] for row in rows]
    seen = torch.stack([grad.abs().amax(-1) > 1e-9 for grad in grads])
    assert seen.tril(-1)[1:].any(1).all()
    if wanted == "causal":
        assert not seen.triu(1).any()
    else:
        # Doge keeps the same few keys for all, so that its last tokens may see none.
        assert seen.triu(1).any(1).float().mean() > 0.5
