"""The error of an attention output, against its definition."""

from __future__ import annotations

import pytest
import torch

from foveal.errors import InputError
from foveal.evaluation.output_error import far_apart, output_error


def test_it_is_the_length_of_the_difference_over_the_length_of_the_exact_one():
    exact = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    near = exact + 0.1 * torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(1))
    told = output_error(near, exact)
    for batch in range(2):
        for head in range(3):
            off = (near - exact)[batch, head].flatten().double()
            assert told[batch, head] == pytest.approx(float(off.norm() / exact[batch, head].double().norm()), rel=1e-6)
    assert output_error(exact, exact).abs().max() == 0
    assert torch.allclose(output_error(torch.zeros_like(exact), exact), torch.ones(2, 3, dtype=torch.float64))


def test_other_shapes_are_refused():
    with pytest.raises(InputError, match="cannot be compared"):
        output_error(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 4, 4))


def test_the_largest_difference_is_of_two_numbers_at_one_place():
    got, right = torch.tensor([1.0, -2.0, 0.5], requires_grad=True), torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    assert far_apart(got, right) == 3.0
    assert far_apart(got, got) == 0.0
