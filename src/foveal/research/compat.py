"""The reference's shape of a run: what its own page reads from POST /solve, made from our events.

Source    InternLM/MindSearch's messages: the whole node and graph again and again, with a `stream_state`
Against   events.py sends each delta once; this sends the same run in quadratic size, for clients that expect it

States    END 0, STREAM_ING 1, SESSION_READY 2, PLUGIN_START 3, PLUGIN_END 4, PLUGIN_RETURN 5, CODING 6, CODE_END 7,
          CODE_RETURN 8; of nodes in `adjacency_list`: 1 running, 2 not started, 3 finished; ours: 4 failed, 5 cancelled
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from foveal.errors import InputError
from foveal.models.chat import Message
from foveal.research.events import Event
from foveal.research.graph import ROOT, Graph
from foveal.research.state import RunState

END, STREAM_ING, SESSION_READY, PLUGIN_START, PLUGIN_END, PLUGIN_RETURN, CODING, CODE_END, CODE_RETURN = range(9)
NODE_STATES = {"running": 1, "waiting": 2, "stale": 2, "finished": 3, "failed": 4, "cancelled": 5}

_SHOWN = {
    "run": SESSION_READY,
    "plan.delta": CODING,
    "plan.turn": CODE_END,
    "plan.observation": CODE_RETURN,
    "node.queries": PLUGIN_START,
    "node.selected": PLUGIN_END,
    "node.results": PLUGIN_RETURN,
    "answer.node.delta": STREAM_ING,
    "node.answer": END,
    "answer.delta": STREAM_ING,
    "done": END,
}


def asked(body: Any) -> tuple[str, list[Message]]:
    """Question and the talk before it, of a body of POST /solve. InputError: there is no question in it."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if isinstance(inputs, str) and inputs.strip():
        return inputs, []
    if isinstance(inputs, list) and inputs and all(_is_message(one) for one in inputs):
        talk = [{"role": one["role"], "content": one["content"]} for one in inputs]
        if talk[-1]["role"] == "user" and talk[-1]["content"].strip():
            return talk[-1]["content"], list(talk[:-1])
    raise InputError('The body needs "inputs": a question, or messages of which the last is the user\'s.')


def solved(events: Iterable[Event]) -> Iterator[dict[str, Any]]:
    """The messages for a run's events, as they come."""
    state = RunState()
    for event in events:
        told = message(state, event)
        if told is not None:
            yield told


def message(state: RunState, event: Event) -> dict[str, Any] | None:
    """Take an event into `state`; the message that tells of it, if there is one."""
    state.apply(event)
    if event.kind not in _SHOWN:
        return None
    name = event.data.get("name")
    return {"current_node": name, "response": _response(state, name, event)}


def _is_message(one: Any) -> bool:
    return isinstance(one, dict) and one.get("role") in ("user", "assistant") and isinstance(one.get("content"), str)


def _response(state: RunState, name: str | None, event: Event) -> dict[str, Any]:
    of_node = name is not None and name in state.graph.nodes
    content = state.answer if event.kind in ("answer.delta", "done") else state.thought
    if of_node and name:
        content = state.graph.nodes[name].answer or state.graph.nodes[name].draft
    return {
        "sender": "WebSearcher" if of_node else "WebPlanner",
        "content": content,
        "formatted": {
            "tool_type": "ActionExecutor" if of_node else "IPythonInterpreter",
            "thought": state.thought,
            "action": event.data["source"] if event.kind == "plan.turn" else "",
            "node": {one: _node(state.graph, one) for one in state.graph.nodes},
            "adjacency_list": {one: _adjacent(state.graph, one) for one in state.graph.nodes},
            "ref2url": {str(number): _ref(ref) for number, ref in state.refs.items()},
        },
        "stream_state": _SHOWN[event.kind],
    }


def _node(graph: Graph, name: str) -> dict[str, Any]:
    node = graph.nodes[name]
    results = {str(one["index"]): {key: one[key] for key in ("url", "title", "summ")} for one in node.results}
    return {
        "content": node.content,
        "type": "root" if name == ROOT else node.kind,
        "state": NODE_STATES[node.state],
        "memory": {"queries": node.queries, "results": results, "selected": node.selected},
        "response": node.answer or node.draft,
    }


def _adjacent(graph: Graph, name: str) -> list[dict[str, Any]]:
    return [
        {"id": edge, "name": end, "state": NODE_STATES[graph.nodes[end].state]}
        for (start, end), edge in graph.edges.items()
        if start == name
    ]


def _ref(ref: dict[str, Any]) -> dict[str, Any]:
    return {key: ref[key] for key in ("url", "title", "summ")}
