"""What another version of Foveal made is named when it is loaded, and so is what somebody has damaged."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from foveal.errors import InputError
from foveal.nn.agent_training import agent_for, load_agent, save_agent
from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings
from foveal.nn.grid_plans import REACH
from foveal.nn.gridworlds import FAMILIES
from foveal.nn.passage_memory import PassageMemory, PassageSettings
from foveal.reading.titans_training import load_memory, save_memory

ENCODER = SimpleNamespace(name="words", fingerprint="0" * 64)


def an_agent(folder):
    save_agent(
        agent_for(FAMILIES[REACH], {"hidden": 8, "embed": 4, "codebook": {"codes": 6}}, 0), FAMILIES[REACH], folder
    )
    return load_agent


def a_filter(folder):
    GoalFilter(GoalFilterSettings(channels=6, cells=9, goals=(3, 2), bottleneck="linear")).save(folder)
    return GoalFilter.load


def a_memory(folder):
    save_memory(PassageMemory(PassageSettings(vector=8, codes=64)), ENCODER, folder)
    return lambda place: load_memory(place, ENCODER)


@pytest.mark.parametrize("made", [an_agent, a_filter, a_memory], ids=["agent", "filter", "memory"])
def test_it_is_named_with_what_to_do(made, tmp_path):
    folder = tmp_path / "one"
    load = made(folder)
    load(folder)
    (told,) = folder.glob("*.json")
    whole = json.loads(told.read_text())
    settings = whole.get("settings", whole)
    fewer = dict(list(settings.items())[1:])
    for other in ({**settings, "of tomorrow": 1}, {"of tomorrow": 1}, None, {**fewer, "goals": 3, "vector": "8"}):
        told.write_text(json.dumps({**whole, "settings": other} if settings is not whole else other or {}))
        with pytest.raises(InputError, match=r"another version of Foveal .*foveal train|needs a whole number"):
            load(folder)
    told.write_text(json.dumps(whole))
    weights = next(folder.glob("*.safetensors"))
    from safetensors.torch import load_file, save_file

    save_file({f"old.{name}": one for name, one in load_file(weights).items()}, weights)
    with pytest.raises(InputError, match=r"does not fit this model \(.*Missing key.*\)\. "):
        load(folder)
    save_file({name: torch.zeros(2, 3, 4) for name in load_file(weights)}, weights)
    with pytest.raises(InputError, match="does not fit this model"):
        load(folder)
    weights.write_bytes(b"nothing")
    with pytest.raises(InputError, match="does not fit this model"):
        load(folder)
