"""What compiled code may be given, asked in one place."""

from __future__ import annotations

import torch

from foveal.models.compiled import serves


@torch.inference_mode()
def test_compiled_code_gets_numbers_of_one_type_that_lie_on_the_processor():
    single, half, double = (torch.zeros(3, dtype=kind) for kind in (torch.float32, torch.bfloat16, torch.float64))
    assert serves(single)
    assert serves(half, half)
    assert not serves(double)
    assert not serves(single, half)
    assert not serves(half, types=(torch.float32,))
    assert not serves(single, single.to("meta"))  # stands for a GPU: its address is none here


def test_compiled_code_has_no_backward():
    assert not serves(torch.zeros(3))
    with torch.no_grad():
        assert serves(torch.zeros(3))
