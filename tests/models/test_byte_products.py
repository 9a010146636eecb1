"""Products in int8, against the same numbers multiplied as integers, and against PyTorch's products in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foveal.models import byte_products
from foveal.models.byte_products import ByteWeight, pays
from foveal.models.lean import FEW, Product

needs_bytes = pytest.mark.skipif(not pays(), reason="products of bytes are not faster here")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def in_bytes(x: Tensor) -> tuple[Tensor, Tensor]:
    """By definition: each row's largest number is 127."""
    scales = x.abs().amax(1, keepdim=True).double() / 127
    return (x.double() / scales.clamp(min=1e-30)).round(), scales


@needs_bytes
@pytest.mark.parametrize("tokens", [1, 17, 80, 700])
@pytest.mark.parametrize("shape", [(16, 16), (67, 48), (1152, 896), (130, 41)], ids=str)
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
def test_sums_are_those_of_the_rounded_numbers(shape, tokens, with_bias):
    weight, x, bias = drawn(*shape), drawn(tokens, shape[1], seed=1), drawn(shape[0], seed=2) if with_bias else None
    x[0] = 0
    rough = ByteWeight.of(weight)
    assert rough is not None
    (a, row), (b, column) = in_bytes(x), in_bytes(weight)
    wanted = (a @ b.T) * row * column.T + (0 if bias is None else bias.double())
    found = rough(x, bias).double()
    # a number that lies between two bytes may fall to either, as float32 rounds it
    assert ((found - wanted).abs() <= 2.1 * row * column.T * 127).all()
    assert ((found - wanted).norm() / wanted.norm().clamp(min=1)) < 2e-3
    exact = x.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert (found - exact).norm() / exact.norm() < 0.03 or tokens == 1


@needs_bytes
def test_numbers_that_are_bytes_already_are_multiplied_exactly():
    draw = torch.Generator().manual_seed(3)
    weight, x = (torch.randint(-127, 128, size, generator=draw).float() for size in ((96, 64), (70, 64)))
    weight[:, 0], x[:, 0] = 127.0, -127.0
    rough = ByteWeight.of(weight)
    assert rough is not None
    torch.testing.assert_close(rough(x), x @ weight.T, rtol=1e-6, atol=1e-2)


@needs_bytes
def test_a_token_that_is_not_finite_spoils_itself_alone():
    x = drawn(80, 48)
    x[3, 5], x[7, 0], x[9, 1] = float("nan"), float("inf"), -float("inf")
    rough = ByteWeight.of(drawn(32, 48))
    assert rough is not None
    assert rough(x).isnan().all(1).nonzero()[:, 0].tolist() == [3, 7, 9]


@needs_bytes
def test_threads_strides_and_defaults_change_nothing():
    weight, x = drawn(64, 48), drawn(100, 96, seed=1)[:, ::2]
    rough, before = ByteWeight.of(weight), torch.get_num_threads()
    assert rough is not None
    once = rough(x.contiguous())
    try:
        torch.set_num_threads(3)
        with torch.device("meta"):
            assert rough(x).equal(once)
    finally:
        torch.set_num_threads(before)
    assert rough.nbytes < weight.nbytes / 3


def test_what_has_no_bytes():
    assert ByteWeight.of(drawn(4, 4).bfloat16()) is None
    assert ByteWeight.of(drawn(4)) is None
    assert ByteWeight.of(torch.empty(0, 4)) is None
    assert ByteWeight.of(torch.full((4, 4), float("inf"))) is None
    assert ByteWeight.of(torch.empty(4, 4, device="meta")) is None


def test_without_such_a_processor_or_a_compiler_products_are_as_they_were(monkeypatch):
    linear, x = nn.Linear(48, 32).requires_grad_(False), drawn(FEW + 1, 48)
    for name, value in (("library", lambda _: None), ("getattr", lambda *_: lambda: False)):
        monkeypatch.setattr(byte_products, name, value, raising=False)
        assert not pays()
        assert Product(linear)(x, int8=True).equal(Product(linear)(x))
        monkeypatch.undo()


@needs_bytes
def test_only_many_tokens_in_float32_are_rough_and_only_when_asked():
    linear = nn.Linear(48, 32).requires_grad_(False)
    product, few, many = Product(linear), drawn(FEW, 48), drawn(FEW + 1, 48)
    assert product(few, int8=True).equal(product(few))
    rough, exact = product(many, int8=True), product(many)
    assert not rough.equal(exact)
    assert (rough - exact).norm() / exact.norm() < 0.03
