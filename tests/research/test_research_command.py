"""foveal research: ask, replay, resume, from the command line."""

from __future__ import annotations

import json
import signal
import threading

import pytest
from typer.testing import CliRunner
from worlds import FACTS, TWO_HOPS, Facts, model_of

from foveal.bench.research_world import Rules, World, WorldSettings
from foveal.cli.main import app
from foveal.cli.research_view import ResearchView, listened, tree
from foveal.research.mindsearch import MindSearch
from foveal.research.state import RunState

QUESTION = "Who taught the architect?"


@pytest.fixture
def folder(tmp_path):
    texts = tmp_path / "texts"
    texts.mkdir()
    for name, text in FACTS.items():
        (texts / f"{name}.txt").write_text(text, encoding="utf-8")
    return texts


def run(*arguments: str):
    return CliRunner().invoke(app, ["research", *arguments])


def test_a_question_to_a_folder_its_replay_and_an_edit(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    with World(WorldSettings(), Rules(TWO_HOPS)) as world:
        model = ("--url", world.chat_url, "--answerer", "rules", "--source", f"dir:{folder}")
        done = run(QUESTION, *model)
        assert done.exit_code == 0, done.output
        assert "taught by Olof Brandt in Vasa. [" in done.stdout
        assert "“Petra Lindqvist was taught by Olof Brandt in Vasa.”" in done.stdout
        kept = json.loads(run("list", "--json").stdout)
        assert [(one["question"], one["status"]) for one in kept] == [(QUESTION, "done")]
        key = kept[0]["key"][:8]
        assert run("replay", key).stdout == done.stdout
        asked = len(world.asked)
        assert run("resume", key).stdout == done.stdout
        assert len(world.asked) == asked  # it came to its end: nothing is left to do, or to pay for
        resumed = run("resume", key, "--edit", "teacher=Who was born in 1871?", "--json")  # with what it asked before
        assert json.loads(resumed.stdout)["graph"]["nodes"][2]["question"] == "Who was born in 1871?"
    for form, shown in (
        ("tree", "- Who was born in 1871? (finished)"),
        ("tree", "- response (finished)"),
        ("mermaid", '["response"]:::finished'),
        ("dot", "digraph"),
        ("markdown", "## Sources"),
        ("html", "<article>"),
        ("events", '"kind": "done"'),
    ):
        assert shown in run("replay", key, "--as", form).stdout
    assert json.loads(run("replay", key, "--json").stdout)["stopped_by"] is None


def test_a_trace_is_a_file_that_goes_on_and_comes_and_goes(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_HOME", str(tmp_path / "home"))
    trace = tmp_path / "t.jsonl"
    with World(WorldSettings(), Rules(TWO_HOPS)) as world:
        model = ("--url", world.chat_url, "--answerer", "rules", "--source", f"dir:{folder}")
        done = run(QUESTION, *model, "--trace", str(trace))
        assert done.exit_code == 0, done.output
        assert run("replay", str(trace)).stdout == done.stdout
        again = run(QUESTION, *model, "--trace", str(trace))  # which cannot begin, and leaves nothing behind
        assert again.exit_code == 1
        assert "is there already" in str(again.exception or again.output)
        assert len(json.loads(run("list", "--json").stdout)) == 1
        key = json.loads(run("list", "--json").stdout)[0]["key"]
        assert run("replay", key, "--as", "trace").stdout == trace.read_text()
        resumed = run("resume", str(trace), "--edit", "teacher=Who was born in 1871?", "--json")  # as it asked before
        assert json.loads(resumed.stdout)["graph"]["nodes"][2]["question"] == "Who was born in 1871?"
        assert "It was begun by" not in resumed.stderr
        less = tmp_path / "less"
        less.mkdir()
        (less / "architect.txt").write_text(FACTS["architect"], encoding="utf-8")
        elsewhere = run("resume", str(trace), "--source", f"dir:{less}", "--json")
        assert f"It was begun by rules over dir:{folder}, and goes on by rules over dir:{less}." in elsewhere.stderr
    new = run("import", str(trace)).stdout.strip()
    assert json.loads(run("replay", new, "--json").stdout) | {"run": None, "trace": None} == json.loads(
        run("replay", str(trace), "--json").stdout
    ) | {"trace": None}
    assert key[:8] in run("list").stdout
    assert run("remove", key).exit_code == 0
    assert [one["key"] for one in json.loads(run("list", "--json").stdout)] == [new]
    gone = run("replay", key)
    assert gone.exit_code == 1
    assert "No run begins with" in str(gone.exception or gone.output)


def test_json_and_a_budget_of_nothing(folder, tmp_path):
    with World(WorldSettings(), Rules(TWO_HOPS)) as world:
        model = ("--url", world.chat_url, "--answerer", "rules", "--source", f"dir:{folder}")
        done = run(QUESTION, *model, "--trace", str(tmp_path / "t.jsonl"), "--json", "--pages", "0")
    told = json.loads(done.stdout)
    assert (told["stopped_by"], told["found"], told["trace"]) == ("budget", False, str(tmp_path / "t.jsonl"))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((" ",), 2, "empty"),
        (("q", "--url", "http://127.0.0.1:1/v1"), 2, "go together"),
        (("q", "--front-end", "xml"), 2, "xml"),
        (("resume", "x.jsonl", "--edit", "nothing", "--url", "http://x/v1", "--answerer", "m"), 2, "NAME=QUESTION"),
        (("q", "--mark", "--out", "x.md"), 2, "Add --report"),
    ],
)
def test_wrong_usage(arguments, status, said):
    done = run(*arguments)
    assert done.exit_code == status
    assert said in done.output


def test_a_site_needs_a_server_with_its_model():
    done = CliRunner().invoke(app, ["serve", "--answerer", "m"])
    assert done.exit_code == 2
    assert "go together" in done.output


def test_the_help_names_the_commands():
    shown = run("--help").output
    for name in ("ask", "replay", "resume", "list", "import", "remove"):
        assert name in shown


def test_ctrl_c_asks_for_the_answer():
    running = MindSearch(model_of(), Facts(seconds=20.0)).start(QUESTION)
    press = threading.Timer(0.5, lambda: signal.pthread_kill(threading.main_thread().ident, signal.SIGINT))
    press.start()
    answer = listened(running, json=True)
    press.join()
    assert (answer.stopped_by, answer.found) == ("asked", False)


def test_the_tree_of_a_run_at_any_moment():
    from rich.console import Console

    running = MindSearch(model_of(), Facts()).start(QUESTION)
    running.result()
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    events = running.log.so_far()
    with ResearchView(quiet=True) as view:
        for event in events:
            view.show(event)
            console.print(view.drawn())
    console.print(tree(RunState.of(events)))
    console.file.close()
    shown = console.export_text()
    for mark in ("○ Who taught that architect?", "◐ Who designed", "● Who designed"):
        assert mark in shown


def test_the_papers_of_a_home_are_found_by_their_index_and_its_filters(tmp_path):
    from foveal.database import Database
    from foveal.papers.records import PaperRecord
    from foveal.papers.upserts import upsert
    from foveal.settings import Settings

    home = tmp_path / "home"
    home.mkdir()
    (home / "foveal.toml").write_text('encoder = "none"\n')
    nothing = run("q", "--source", "papers", "--url", "http://127.0.0.1:1/v1", "--answerer", "x", "--home", str(home))
    assert "There are no papers" in str(nothing.exception or nothing.output)
    database = Database.open(Settings.load(home))
    records = [
        PaperRecord(id=f"2605.0123{one}", title=name, abstract=text, source="arxiv", categories=("cs.CL",))
        for one, (name, text) in enumerate(FACTS.items())
    ]
    upsert(database, records)
    database.close()
    with World(WorldSettings(), Rules(TWO_HOPS)) as world:
        model = ("--url", world.chat_url, "--answerer", "rules", "--home", str(home), "--json")
        told = json.loads(run(QUESTION, *model, "--source", "papers").stdout)
        none = json.loads(run(QUESTION, *model, "--source", "papers:lexical cat:math.CO").stdout)
    assert "Olof Brandt" in told["answer"]
    assert "https://arxiv.org/abs/2605.01231" in [one["url"] for one in told["citations"]]
    assert (none["found"], none["citations"]) == (False, [])
