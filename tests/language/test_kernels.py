"""Dropout and attention: torch's numbers, whichever computation is chosen."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.testing import assert_close

from lbbt_mm.language import kernels

BIASES = {
    "none": dict(),
    "causal": dict(causal=True),
    "visible": dict(bias=torch.ones(9, 9, dtype=torch.bool).tril(2)),
    "added": dict(bias=torch.linspace(-3, 3, 4 * 81).reshape(1, 4, 9, 9)),
    "unscaled": dict(scale=1.0),
}


@pytest.fixture
def plain(monkeypatch) -> None:
    """Plain products, whatever would be faster."""
    monkeypatch.setattr(kernels, "_plain_is_faster", lambda *args: True)


def inputs(dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(0)
    # Keys with a large mean, as a language model's: bfloat16 must not lose the rest.
    made = [torch.randn(2, 4, 9, 8) for _ in range(3)]
    made[1] += 10 * torch.randn(1, 4, 1, 8)
    return [x.to(dtype).requires_grad_() for x in made]


def attend(function, dtype: torch.dtype, **options) -> list[Tensor]:
    given = inputs(dtype)
    out = function(*given, **options)
    out.float().sin().sum().backward()
    return [out.detach().float(), *(x.grad.float() for x in given)]


def torchs(q: Tensor, k: Tensor, v: Tensor, bias=None, causal=False, scale=None):
    bias = bias if bias is None or bias.dtype is torch.bool else bias.to(q.dtype)
    return F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, is_causal=causal, scale=scale
    )


@pytest.mark.parametrize("name", BIASES)
def test_attention_and_its_gradients_are_torchs(name: str, plain) -> None:
    expected = attend(torchs, torch.float32, **BIASES[name])
    found = attend(kernels.attention, torch.float32, **BIASES[name])
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", BIASES)
def test_bfloat16_is_about_as_exact_as_torchs(name: str, plain) -> None:
    exact = [x.to(torch.bfloat16).float() for x in inputs(torch.float32)]
    exact = torchs(*exact, **BIASES[name])
    errors = [
        (attend(function, torch.bfloat16, **BIASES[name])[0] - exact).norm()
        for function in (kernels.attention, torchs)
    ]
    assert errors[0] < 2 * errors[1] < 0.05 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_of_probabilities_keeps_the_mean(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(400, 4, 9, 8, dtype=dtype) for _ in range(3))
    q, k, v = (x[:1].expand_as(x) for x in (q, k, v))
    expected = kernels.attention(q[:1], k[:1], v[:1])
    found = kernels.attention(q, k, v, p=0.25)
    assert found.std(0).min() > 0
    assert_close(found.float().mean(0), expected[0].float(), rtol=0, atol=0.15)


def test_gradients_of_dropped_probabilities_are_the_functions() -> None:
    q, k, v = torch.randn(3, 1, 2, 3, 2, dtype=torch.float64).unbind()
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))

    def attend(*given: Tensor) -> Tensor:
        torch.manual_seed(0)  # the same mask in every evaluation
        return kernels.attention(*given, p=0.3, causal=True)

    assert torch.autograd.gradcheck(attend, (q, k, v), atol=1e-4)


@pytest.mark.parametrize(
    ("options", "dtype", "train", "fused"),
    [
        (dict(), torch.bfloat16, True, False),
        (dict(p=0.1), torch.float32, True, False),
        (dict(), torch.float32, True, True),
        (dict(), torch.bfloat16, False, True),
    ],
    ids=str,
)
def test_each_case_has_its_faster_computation(
    options: dict, dtype: torch.dtype, train: bool, fused: bool, monkeypatch
) -> None:
    calls, original = [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F,
        "scaled_dot_product_attention",
        lambda *args, **kwargs: calls.append(1) or original(*args, **kwargs),
    )
    with torch.set_grad_enabled(train):
        kernels.attention(*inputs(dtype), **options)
    assert bool(calls) == fused


def test_second_derivatives_are_torchs_where_fused_kernels_are_off(monkeypatch) -> None:
    monkeypatch.setattr(torch.backends.cuda, "flash_sdp_enabled", lambda: False)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        q, k, v = inputs(torch.bfloat16)
        (grad,) = torch.autograd.grad(
            kernels.attention(q, k, v).sum(), q, create_graph=True
        )
        (second,) = torch.autograd.grad(grad.square().sum(), k)
    assert second.abs().max() > 0


def test_a_second_derivative_of_plain_products_is_refused(plain) -> None:
    q, k, v = inputs(torch.bfloat16)
    loss = kernels.attention(q, k, v).square().sum()
    (grad,) = torch.autograd.grad(loss, q, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.square().sum().backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(
    p: float, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    count = 1_000_003  # not a multiple of the lanes
    x = torch.ones(count, dtype=dtype, requires_grad=True)
    out = kernels.dropout(x, p)
    out.sum().backward()
    rate = (out == 0).double().mean()
    assert abs(rate - p) < 5 * math.sqrt(p * (1 - p) / count)
    kept = out[out != 0]
    assert_close(kept, torch.full_like(kept, 1 / (1 - p)), rtol=8e-3, atol=0)
    assert_close(x.grad, out.detach())


def test_dropout_follows_the_seed_and_the_mode() -> None:
    x = torch.randn(50)
    drop = kernels.Dropout(0.5)
    torch.manual_seed(3)
    first = drop(x)
    state = torch.get_rng_state()
    second = drop(x)
    torch.manual_seed(3)
    assert_close(drop(x), first, rtol=0, atol=0)
    torch.set_rng_state(state)
    assert_close(drop(x), second, rtol=0, atol=0)
    assert drop.eval()(x) is x
    assert kernels.dropout(x, 1.0).abs().max() == 0
