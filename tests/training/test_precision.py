"""Where mixed precision is chosen, and that a run may go on where it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from foveal.training import precision
from foveal.training.loop import LoopSettings, identity
from foveal.training.precision import mixed_precision


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def pretend(*, processor: bool, gpu: bool | None = None) -> None:
        monkeypatch.setattr(precision, "native_bfloat16", lambda: processor)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bool(gpu))  # noqa: ARG005

    return pretend


@pytest.mark.parametrize(
    ("processor", "gpu", "mixed"),
    [(True, None, True), (False, None, False), (False, True, True), (True, False, False)],
    ids=["fast processor", "plain processor", "gpu", "old gpu in a fast machine"],
)
def test_it_is_chosen_where_what_computes_has_bfloat16(
    machine: Callable[..., None], processor: bool, gpu: bool | None, mixed: bool
) -> None:
    machine(processor=processor, gpu=gpu)
    assert mixed_precision() is mixed


def test_a_run_is_known_by_the_same_words_in_either_precision() -> None:
    plain, mixed = LoopSettings(), LoopSettings(bfloat16=True)
    assert identity({"data": "a"}, plain) == identity({"data": "a"}, mixed)
    assert identity({"data": "a"}, plain) != identity({"data": "a"}, replace(plain, epochs=4))
    assert identity({"data": "a"}, plain) != identity({"data": "b"}, plain)
