"""The searchers of research as Ray tasks, and the deployments of `foveal serve --ray`. Slow."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import date
from threading import Thread

import numpy as np
import pytest
from ray_parts import PAGES, parts, stalled

from foveal.bench.research_world import Rules, RulesModel, program
from foveal.errors import Cancelled, UnknownName
from foveal.library import Library
from foveal.models.chat import Cancel, Sampling
from foveal.research.budget import Budget, Meter
from foveal.research.mindsearch import MindSearch, MindSettings
from foveal.research.prompts import Problem
from foveal.research.run import RunLimits
from foveal.research.searcher import SearchSettings
from foveal.scale.cluster import nodes
from foveal.scale.searching import RaySearcher, RaySearchers

pytest.importorskip("ray", reason="foveal[scale] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

SIDE_BY_SIDE = program(
    'graph = WebSearchGraph()\ngraph.add_root_node(node_content="q", node_name="root")\n'
    'graph.add_node(node_name="a", node_content="Who designed the mill at Orra?")\n'
    'graph.add_edge(start_node="root", end_node="a")\n'
    'graph.add_node(node_name="b", node_content="Who taught Petra Lindqvist?")\n'
    'graph.add_edge(start_node="root", end_node="b")\ngraph.node("a"), graph.node("b")'
)
RESPOND = program('graph.add_response_node(node_name="response")')


@pytest.fixture(scope="module")
def ray():
    with nodes([2]) as (connected, _):
        yield connected


def test_searchers_that_are_tasks_find_what_threads_find(ray):
    def answered(**options):
        own = parts()
        settings = MindSettings(limits=RunLimits(budget=Budget(pages=12)))
        model = RulesModel(Rules((SIDE_BY_SIDE, RESPOND)))
        run = MindSearch(model, own.source, settings=settings, **options).start("Who taught the architect?")
        found = run.result()
        return found, run.meter.used(), [one.kind for one in run.log.so_far()]

    own, used, kinds = answered()
    spread, used_there, kinds_there = answered(searcher=RaySearchers(ray, parts))
    assert "Olof Brandt" in spread.text
    numbers = re.compile(r"\[\[\d+\]\]")  # they follow the order in which searchers end
    assert sorted(numbers.sub("", spread.text).split()) == sorted(numbers.sub("", own.text).split())
    assert (used_there["pages"], used_there["calls"]) == (used["pages"], used["calls"])
    assert used_there["tokens"] > 0
    assert set(kinds_there) == set(kinds)


def test_a_run_that_is_stopped_stops_its_tasks_and_gets_its_pages_back(ray):
    meter, cancel = Meter(Budget(pages=4)), Cancel()
    searcher = RaySearcher(ray, stalled, meter, SearchSettings(max_pages=3))
    Thread(target=lambda: (time.sleep(3), cancel.set()), daemon=True).start()
    begun = time.monotonic()
    with pytest.raises(Cancelled):
        searcher.run(Problem(root="q", question="q?", before=(), today=date(2026, 1, 1)), lambda *_, **__: None, cancel)
    assert time.monotonic() - begun < 8
    assert meter.used()["pages"] == 0


@pytest.mark.model
def test_deployments_give_what_the_models_give(ray, own_settings):
    from foveal.models import load_chat, load_encoder
    from foveal.reading import InfiniRetri, ReadSettings
    from foveal.scale.serving import Served, served

    encoder, texts = load_encoder("minilm"), list(PAGES.values())
    plan = Served(encoder="minilm", reader="gemma3-270m", cache=own_settings.cache, home=own_settings.home, cores=0.5)
    with served(plan) as found:
        assert found.encoder is not None
        assert found.encoder.fingerprint == encoder.fingerprint
        for count in (1, 3):
            given = found.encoder.encode(texts[:count])
            assert np.allclose(given, encoder.encode(texts[:count]), atol=2e-2)  # another batch, another rounding
        assert np.array_equal(found.encoder.encode(texts * 4), encoder.encode(texts * 4))
        assert found.encoder.token_offsets("sees sharply") == encoder.token_offsets("sees sharply")
        library = Library.open(settings=replace(own_settings, encoder="minilm"))
        found.encoder.require(library.store.settings["fingerprint"])
        with pytest.raises(UnknownName, match="No ranker is called"):
            found.rankers.get("no-such-ranker", own_settings.home)
        chat, messages = load_chat("gemma3-270m"), [{"role": "user", "content": "The mill at Orra was"}]
        few = Sampling(max_tokens=6)
        assert (
            "".join(found.chat().stream(messages, few)) == chat.chat(messages, few) == found.chat().chat(messages, few)
        )
        assert found.chat().count_tokens("a mill") == chat.count_tokens("a mill")
        text = " ".join(f"Box {number} holds {number * 7} coins." for number in range(60))
        reader = InfiniRetri(found.reader(), ReadSettings(window=128))
        own = InfiniRetri(chat.language_model, ReadSettings(window=128))
        question = "What does box 31 hold?"
        assert [one.text for one in reader.retrieve(text, question).excerpts] == [
            one.text for one in own.retrieve(text, question).excerpts
        ]
