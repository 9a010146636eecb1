"""The default type of numbers, while other threads load models."""

from __future__ import annotations

from threading import Event, Thread

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM, modeling_utils

from foveal.models.dtypes import usual_type
from foveal.models.quiet import quiet

SOON_S = 0.2


class Making(Thread):
    """Another thread that is in the midst of making a model of this type, until it is let go."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__(daemon=True)
        self.dtype, self.begun, self.go = dtype, Event(), Event()

    def run(self) -> None:
        with quiet(), modeling_utils.local_torch_dtype(self.dtype, "Model"):
            self.begun.set()
            self.go.wait(30)


def test_two_models_that_load_at_once_leave_the_default_type_as_it_was():
    """The second would take the first one's for the usual one, and put it back for good."""
    first, second = Making(torch.bfloat16), Making(torch.float32)
    first.start()
    assert first.begun.wait(30)
    second.start()
    together = second.begun.wait(SOON_S)
    first.go.set()
    first.join()
    second.go.set()
    second.join()
    left = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)  # for the tests that follow
    assert left == torch.float32
    assert not together


def test_layers_are_made_in_the_usual_type_while_another_thread_loads():
    other, made = Making(torch.bfloat16), []

    def make() -> None:
        with usual_type():
            made.append(torch.nn.Linear(2, 2).weight.dtype)

    other.start()
    assert other.begun.wait(30)
    own = Thread(target=make, daemon=True)
    own.start()
    own.join(SOON_S)
    other.go.set()
    own.join()
    other.join()
    assert made == [torch.float32]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_model_that_is_loaded_within_is_of_the_type_that_is_asked_for(dtype, tmp_path):
    config = Qwen2Config(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1,
    )  # fmt: skip
    with quiet(), usual_type():
        Qwen2ForCausalLM(config).save_pretrained(tmp_path)
        model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype, use_safetensors=True)
        assert {one.dtype for one in model.parameters()} == {dtype}
        assert torch.nn.Linear(2, 2).weight.dtype == torch.float32
