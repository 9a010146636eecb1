"""Weights kept in bfloat16 for products of few tokens, against PyTorch's products in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.models import compiled, half_products
from foveal.models.half_products import HalfWeight
from foveal.models.lean import FEW, Product

needs_compiler = pytest.mark.skipif(
    compiled.library(half_products.SOURCE) is None, reason="there is no C++ compiler here"
)


def published(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16().float()


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(9))


def linear(outputs: int, depth: int, *, bias: bool = False, seed: int = 0) -> nn.Linear:
    made = nn.Linear(depth, outputs, bias=bias)
    made.weight.data = published(outputs, depth, seed=seed)
    return made.requires_grad_(False)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 1), (31, 5), (32, 32), (70, 385), (129, 1000)], ids=str)
@pytest.mark.parametrize("tokens", [1, 2, 6, 12, 13, 25, 64])
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
def test_it_is_the_product_of_float32(shape: tuple[int, int], tokens: int, with_bias: bool) -> None:
    weight, x = published(*shape), drawn(tokens, shape[1])
    bias = drawn(shape[0]) if with_bias else None
    half = HalfWeight.of(weight)
    assert half is not None
    wanted = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    torch.testing.assert_close(half(x, bias).double(), wanted, rtol=1e-5, atol=2e-6 * shape[1] ** 0.5)


@needs_compiler
def test_any_number_of_dimensions_threads_and_strides_gives_the_same() -> None:
    half, x = HalfWeight.of(published(96, 40)), drawn(4, 3, 80)[..., ::2]
    assert half is not None
    once = half(x)
    assert once.shape == (4, 3, 96)
    assert half(x.reshape(-1, 40)).equal(once.view(-1, 96))
    assert half(x[:0]).shape == (0, 3, 96)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert half(x).equal(once)
    finally:
        torch.set_num_threads(before)


@needs_compiler
def test_the_callers_defaults_change_nothing() -> None:
    weight, x = published(40, 8), drawn(3, 8)
    wanted = x @ weight.T
    with torch.device("meta"):
        half = HalfWeight.of(weight)
        assert half is not None
        torch.set_default_dtype(torch.float64)
        try:
            told = half(x)
        finally:
            torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(told, wanted, rtol=1e-5, atol=1e-5)


@needs_compiler
@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_the_check_says_the_same_while_a_model_loads(default: torch.dtype) -> None:
    """It is made once: products would stay slow for as long as the process runs."""
    torch.set_default_dtype(default)
    try:
        said = half_products._agrees.__wrapped__()
    finally:
        torch.set_default_dtype(torch.float32)
    assert said == half_products._agrees()


@needs_compiler
def test_numbers_that_are_not_finite_stay_so() -> None:
    weight = published(40, 8)
    weight[3, 2], weight[39, 7] = float("inf"), float("nan")
    half = HalfWeight.of(weight)
    assert half is not None
    told = half(torch.ones(1, 8))[0]
    assert told[3] == float("inf")
    assert told.isnan().nonzero().flatten().tolist() == [39]


def test_a_number_with_more_bits_is_not_kept_so() -> None:
    weight = published(40, 8)
    weight[39, 7] = 1.0 + 2.0**-20
    assert HalfWeight.of(weight) is None
    assert HalfWeight.of(weight.bfloat16()) is None
    assert HalfWeight.of(weight[:0]) is None


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_products, "library", lambda _: None)
    monkeypatch.setattr(half_products, "_agrees", half_products._agrees.__wrapped__)
    assert HalfWeight.of(published(40, 8)) is None
    layer, x = linear(40, 8, bias=True), drawn(3, 8)
    with torch.inference_mode():
        torch.testing.assert_close(Product(layer)(x), layer(x))


@needs_compiler
def test_what_the_compiler_got_wrong_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(half_products, "_agrees", half_products._agrees.__wrapped__)
    monkeypatch.setattr(HalfWeight, "__call__", lambda self, x, bias=None: torch.zeros(len(x), self.shape[0]))  # noqa: ARG005
    assert HalfWeight.of(published(40, 8)) is None
    assert "goes without them" in caplog.text


@needs_compiler
@pytest.mark.parametrize("tokens", [1, FEW, FEW + 1, 200])
def test_lean_layers_take_it_for_few_tokens_and_the_weights_themselves_for_many(
    monkeypatch: pytest.MonkeyPatch, tokens: int
) -> None:
    layers = [linear(48, 24, bias=True), linear(16, 24, bias=True, seed=1), linear(16, 24, bias=True, seed=2)]
    asked: list[int] = []
    usual = HalfWeight.__call__

    def noted(self: HalfWeight, x: Tensor, bias: Tensor | None = None) -> Tensor:
        asked.append(len(x))
        return usual(self, x, bias)

    product, x = Product(*layers), drawn(tokens, 24)
    monkeypatch.setattr(HalfWeight, "__call__", noted)
    with torch.inference_mode():
        wanted = torch.cat([one(x) for one in layers], -1)
        torch.testing.assert_close(product(x), wanted, rtol=1e-5, atol=1e-5)
    assert asked == ([tokens] if tokens <= FEW else [])


@needs_compiler
def test_it_takes_half_of_the_memory() -> None:
    weight = published(256, 128)
    half = HalfWeight.of(weight)
    assert half is not None
    assert half.nbytes == weight.nbytes // 2
