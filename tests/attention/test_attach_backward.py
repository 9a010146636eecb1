"""attach and backward(): what checkpointing runs anew attends as the first pass did, in whichever thread."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from foveal.attention import Streaming, attach
from foveal.errors import InputError

IDS = torch.randint(256, (1, 700), generator=torch.Generator().manual_seed(0))
METHOD = Streaming(sinks=128, recent=128)


def training(model: nn.Module, *, checkpointing: bool) -> nn.Module:
    made = copy.deepcopy(model).train()
    if checkpointing:
        newest = hasattr(PreTrainedModel, "activation_checkpointing_enable")  # the other name is deprecated there
        (made.activation_checkpointing_enable if newest else made.gradient_checkpointing_enable)()
    return made


def loss(model: nn.Module) -> torch.Tensor:
    return model(IDS, labels=IDS, use_cache=False).loss


def gradient(model: nn.Module) -> torch.Tensor:
    return model.model.layers[0].self_attn.q_proj.weight.grad


def in_a_thread_of_its_own(body) -> None:
    """As PyTorch does on a GPU, whose threads have no context of ours."""
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


@pytest.mark.parametrize("run", [lambda body: body(), in_a_thread_of_its_own], ids=["here", "another thread"])
def test_a_layer_that_is_run_anew_attends_by_the_method(attention_models, run, caplog):
    model = attention_models["qwen"].model
    whole, parted = training(model, checkpointing=False), training(model, checkpointing=True)
    with attach(whole, METHOD):
        loss(whole).backward()
    with attach(parted, METHOD):
        found = loss(parted)
        run(found.backward)
    torch.testing.assert_close(gradient(parted), gradient(whole), rtol=0, atol=0)
    dense = training(model, checkpointing=False)
    loss(dense).backward()
    assert not torch.allclose(gradient(dense), gradient(whole), rtol=1e-3)  # the method counts
    assert "another" not in caplog.text


def test_a_layer_that_is_run_anew_in_a_block_within_keeps_its_own_method(attention_models):
    model = attention_models["qwen"].model
    whole, parted = training(model, checkpointing=False), training(model, checkpointing=True)
    with attach(whole, METHOD):
        loss(whole).backward()
    with attach(parted, METHOD):
        found = loss(parted)
        with attach(parted):
            found.backward()
    torch.testing.assert_close(gradient(parted), gradient(whole), rtol=0, atol=0)


def test_backward_behind_the_block_says_where_it_belongs(attention_models):
    model = training(attention_models["qwen"].model, checkpointing=True)
    with attach(model, METHOD):
        found = loss(model)
    with pytest.raises(InputError, match=r"block of attach that has ended.*call it within the block"):
        found.backward()
