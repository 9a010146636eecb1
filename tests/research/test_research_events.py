"""Events: numbered, each heard once by whoever comes back, folded to the same state by every road."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from worlds import TWO_HOPS, Facts, model_of

from foveal.errors import InputError
from foveal.research.compat import asked, solved
from foveal.research.events import EventLog, sse
from foveal.research.mindsearch import MindSearch
from foveal.research.state import RunState


def test_whoever_comes_back_hears_each_event_once():
    log = EventLog()

    def tell() -> None:
        for number in range(50):
            log.append("plan.delta", text=str(number))
        log.close()

    thread = threading.Thread(target=tell)
    thread.start()
    heard = []
    while not log.closed or heard[-1:] != [50]:  # a client that breaks off after a few, again and again
        for event in log.follow(heard[-1] if heard else 0):
            heard.append(event.id)
            if event.id % 7 == 0:
                break
    thread.join()
    assert heard == list(range(1, 51))
    with pytest.raises(InputError, match="numbered from 1"):
        log.so_far(-1)
    with pytest.raises(InputError, match="No event is called"):
        log.append("nothing")


def test_an_event_loop_hears_the_same():
    search = MindSearch(model_of(), Facts())

    async def heard() -> list[int]:
        return [event.id async for event in search.astream("Who taught the architect?")]

    ids = asyncio.run(heard())
    assert ids == list(range(1, len(ids) + 1))


def test_server_sent_events_hold_one_line_of_data():
    event = EventLog().append("answer.delta", text="two\nlines — ü")
    lines = sse(event).split("\n")
    assert lines[:2] == ["id: 1", "event: answer.delta"]
    assert json.loads(lines[2].removeprefix("data: ")) == {"text": "two\nlines — ü"}
    assert lines[3:] == ["", ""]


def test_state_by_parts_is_state_of_the_whole():
    run = MindSearch(model_of(), Facts()).start("Who taught the architect?")
    run.result()
    events = run.log.so_far()
    whole = RunState.of(events)
    parts = RunState.of(events[:20])
    for event in events[20:]:
        parts.apply(event)
    assert parts == whole or (parts.answer, parts.refs, parts.turns) == (whole.answer, whole.refs, whole.turns)
    assert run.state.graph.nodes == whole.graph.nodes


def test_the_references_shape_of_a_run():
    run = MindSearch(model_of(), Facts()).start("Who taught the architect?")
    run.result()
    messages = list(solved(run.log.so_far()))
    assert messages[0]["response"]["stream_state"] == 2
    programs = [one["response"]["formatted"]["action"] for one in messages]
    assert [one for one in programs if one] == list(TWO_HOPS)  # and nothing else is one: not a source's name
    last = messages[-1]["response"]
    assert last["stream_state"] == 0
    assert last["content"] == run.state.answer
    assert {one["name"]: one["state"] for one in last["formatted"]["adjacency_list"]["root"]} == {"architect": 3}
    assert last["formatted"]["ref2url"]["1"]["url"].startswith("https://facts.example/")
    assert last["formatted"]["adjacency_list"]["teacher"][0] | {"id": ""} == {"id": "", "name": "response", "state": 3}
    writing = next(
        one for one in messages if one["response"]["content"].startswith("Petra") and not one["current_node"]
    )
    assert writing["response"]["formatted"]["node"]["response"]["state"] == 1
    assert {one["current_node"] for one in messages} == {None, "architect", "teacher"}
    json.dumps(messages)


@pytest.mark.parametrize(
    "body",
    [{}, {"inputs": " "}, {"inputs": []}, {"inputs": [{"role": "assistant", "content": "x"}]}, [], {"inputs": 5}],
)
def test_a_body_without_a_question_is_refused(body):
    with pytest.raises(InputError, match="inputs"):
        asked(body)


def test_a_body_is_a_question_or_a_talk():
    assert asked({"inputs": "Who?"}) == ("Who?", [])
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert asked({"inputs": talk, "session_id": 1}) == ("c", talk[:2])
