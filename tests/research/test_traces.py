"""Traces: they replay, a killed run goes on from its trace, an edit searches only what builds on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from worlds import RESPOND, Facts, model_of, nodes_program

from foveal.errors import InputError
from foveal.research.citations import cited
from foveal.research.mindsearch import MindSearch, replay
from foveal.research.traces import TraceFile, load

QUESTION = "Who taught the architect?"


def test_a_replay_is_the_run(tmp_path):
    trace = tmp_path / "run.jsonl"
    answer = MindSearch(model_of(), Facts()).ask(QUESTION, trace=trace)
    again = replay(trace)
    assert (again.text, again.citations, again.numbers) == (answer.text, answer.citations, answer.numbers)
    assert again.to_json() == answer.to_json()
    with pytest.raises(InputError, match="is there already"):
        MindSearch(model_of(), Facts()).ask(QUESTION, trace=trace)


KILLED = """
import sys
from pathlib import Path
from foveal.research.mindsearch import MindSearch
from worlds import Facts, RESPOND, model_of, nodes_program
class Slow(Facts):
    def search(self, query, k, *, cancel=None):
        if "question 2" in query:
            print("there", flush=True)
            import time; time.sleep(60)
        return super().search(query, k, cancel=cancel)
MindSearch(model_of([nodes_program(4, chain=True), RESPOND]), Slow()).ask("q", trace=Path(sys.argv[1]))
"""


def test_a_killed_run_goes_on_and_pays_for_nothing_twice(tmp_path):
    trace = tmp_path / "run.jsonl"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(trace)], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == b"there\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with trace.open("ab") as file:
        file.write(b'{"id": 999, "kind": "node.st')  # what a kill leaves of a line
    assert replay(trace).stopped_by is None
    assert [one for one, _ in replay(trace).missing] == ["Petra question 2?", "Petra question 3?"]
    before = {event.data["name"]: event.data["text"] for event in load(trace) if event.kind == "node.answer"}
    source = Facts()
    run = MindSearch(model_of([nodes_program(4, chain=True), RESPOND]), source).resume(trace)
    answer = run.result()
    assert not any("question 0" in query or "question 1" in query for query in source.queries)
    assert (answer.missing, answer.stopped_by) == ((), None)
    assert {name: answer.graph.nodes[name].answer for name in before} == before
    assert [event.id for event in load(trace)] == list(range(1, len(load(trace)) + 1))
    assert replay(trace).to_json() == answer.to_json()


def test_a_run_that_was_killed_before_it_told_of_edges_leaves_no_node_apart(tmp_path):
    trace = tmp_path / "run.jsonl"
    MindSearch(model_of([nodes_program(3), RESPOND]), Facts()).ask(QUESTION, trace=trace)
    lines = trace.read_bytes().splitlines(keepends=True)
    until = next(place for place, line in enumerate(lines) if b'"graph.edge"' in line)
    trace.write_bytes(b"".join(lines[:until]))
    answer = MindSearch(model_of([RESPOND]), Facts()).resume(trace).result()
    assert len(answer.graph.searchers()) == 3
    assert all(answer.graph.parents(node.name) == ["root"] for node in answer.graph.searchers())
    assert answer.missing == ()


def test_a_cancelled_run_can_go_on(tmp_path):
    trace = tmp_path / "run.jsonl"
    source = Facts(seconds=0.4)
    run = MindSearch(model_of(), source).start(QUESTION, trace=trace)
    while not source.queries:
        time.sleep(0.01)
    run.cancel()
    assert run.result().stopped_by == "cancelled"
    answer = MindSearch(model_of(), Facts()).resume(trace).result()
    assert answer.stopped_by is None
    assert "Olof Brandt" in answer.text
    assert answer.text.count("Olof Brandt") == 1  # the partial answer of the first part is gone


def test_an_edit_searches_the_node_and_what_builds_on_it_and_nothing_else(tmp_path):
    trace = tmp_path / "run.jsonl"
    program = nodes_program(4).replace('start_node="root", end_node="n2"', 'start_node="n1", end_node="n2"')
    MindSearch(model_of([program, RESPOND]), Facts()).ask("q", trace=trace)
    before = dict(load_refs(trace))
    source = Facts()
    answer = (
        MindSearch(model_of([program, RESPOND]), source).resume(trace, edits={"n1": "When was Petra born?"}).result()
    )
    assert sorted(source.queries) == ["Petra question 2?", "When was Petra born?"]
    assert answer.graph.nodes["n1"].content == "When was Petra born?"
    assert {node.state for node in answer.graph.searchers()} == {"finished"}
    after = dict(load_refs(trace))
    assert {number: after[number] for number in before} == before
    assert set(cited(answer.text)) == set(answer.numbers)
    with pytest.raises(InputError, match="No node is called 'n9'"):
        MindSearch(model_of(), Facts()).resume(trace, edits={"n9": "x"})
    with pytest.raises(InputError, match="not a sub-question"):
        MindSearch(model_of(), Facts()).resume(trace, edits={"root": "x"})


def load_refs(trace: Path):
    for event in load(trace):
        if event.kind == "refs":
            yield from ((number, ref["url"]) for number, ref in event.data["added"].items())


def test_two_processes_do_not_write_one_trace(tmp_path):
    trace = tmp_path / "run.jsonl"
    with TraceFile.open(trace), pytest.raises(InputError, match="another run"):
        TraceFile.open(trace, goes_on=True)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "no json\n",
        '{"foveal_trace": 99}\n',
        '[1]\n{"id": 1}\n',
        '{"foveal_trace": 1}\n{"id": 1, "kind": "x", "data": {}}\n',
        '{"foveal_trace": 1}\n{"id": 2, "kind": "run", "data": {"question": "q"}}\n',
        '{"foveal_trace": 1}\n{"id": 1, "kind": "done", "data": {}}\n',
    ],
)
def test_what_is_no_trace_is_refused(tmp_path, content):
    path = tmp_path / "x.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=r"trace|run"):
        load(path)
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "none")
