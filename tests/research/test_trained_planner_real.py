"""A real model untaught: under the grammar it writes queries, in a batch as alone, and learns from what it is shown."""

from __future__ import annotations

import pytest
import torch
from recordings import world

from foveal.models.language import load_language_model
from foveal.research.planner_settings import BASE, PlannerSettings
from foveal.research.planner_training import Likelihood, collate, row, taught, vocabulary
from foveal.research.query_writer import QueryWriter
from foveal.research.recorded_search import RecordedSearch
from foveal.research.transcripts import Format, Transcript
from foveal.training.upper_layers import Parts

QUESTION = "Who taught the architect of the Orra mill?"


@pytest.mark.slow
@pytest.mark.model
def test_a_real_model_writes_queries_and_three_steps_make_recorded_ones_likelier():
    model, settings = load_language_model(BASE), PlannerSettings()
    writer = QueryWriter(model, None, settings.transcript)
    grown = Transcript(QUESTION).and_then(
        "Orra mill architect", [("", "Petra Lindqvist drew it.")], settings.transcript
    )
    made = writer.write([Transcript(QUESTION), grown], must_search=True)
    assert all(one.query for one in made)
    assert made[1].query != "Orra mill architect"
    recorded = world(4)
    form, search = Format(model, settings.transcript), RecordedSearch(recorded)
    parts = Parts.of(model.model, 2, vocabulary(form, recorded))
    learned = parts.learn(rank=4, alpha=8.0)
    batch = collate([row(parts, *taught(form, run, search, settings)) for run in recorded.trajectories])
    optimiser, loss = torch.optim.AdamW(learned.parameters(), 5e-3), Likelihood(parts)
    losses = []
    for _ in range(4):
        value = loss(learned, batch)
        losses.append(float(value.detach()))
        value.backward()
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < losses[0] - 0.3
