"""Runs at their edges: plans that begin anew, page text that tries to look like ours, budgets without end, traces."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
from report_worlds import QUESTION, Filler, Pages
from sqlalchemy import text
from worlds import RESPOND, TWO_HOPS, Facts, model_of, nodes_program

from foveal.bench.research_world import Rules, RulesModel, program
from foveal.database import Database
from foveal.errors import DatabaseError, FetchFailed, FovealError, InputError
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.citations import MARK, cited
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.desk import WANTED_NOW
from foveal.research.graph import OVER, Graph, Node
from foveal.research.mindsearch import MindSearch, MindSettings, replay
from foveal.research.plans import Turn
from foveal.research.prompts import as_data, unbracketed, without_marks
from foveal.research.report import Report
from foveal.research.run import RunLimits
from foveal.research.runs import Runs
from foveal.research.searcher import SearchSettings
from foveal.research.trained_planner import TrainedPlanner
from foveal.research.transcripts import TranscriptSettings
from foveal.settings import Settings


def test_a_plan_to_begin_anew_that_is_refused_drops_nothing_that_waits():
    class Slow(Facts):
        def search(self, query, k, *, cancel=None):
            time.sleep(0.5 * ("question 0" in query))
            return super().search(query, k, cancel=cancel)

    waits = (
        nodes_program(3)
        .replace('start_node="root", end_node="n1"', 'start_node="n0", end_node="n1"')
        .replace('graph.node("n0"), graph.node("n1"), graph.node("n2")', 'graph.node("n2")')
    )
    refused = program(
        'graph.reset()\ngraph.add_node(node_name="n3", node_content="Petra question 3?")\n'
        'graph.add_edge(start_node="nowhere", end_node="n3")'
    )
    answer = MindSearch(model_of([waits, refused, RESPOND]), Slow()).ask("q")
    assert {node.name: node.state for node in answer.graph.searchers()} == dict.fromkeys(("n0", "n1", "n2"), "finished")


@pytest.mark.parametrize(
    "written", ["[[1]]", "[[[1]]]", "[[[[1, 2]]]]", "[[ 1;2 ]]", "[[1]]]]", "x[[1]][[2]]", "[<|a|>[[1]]]"]
)
def test_no_mark_of_a_page_can_be_cited(written):
    assert cited(as_data(written)) == []
    assert "1" in as_data(written)
    assert cited(as_data("[[1]]", marks=True)) == [1]


@pytest.mark.parametrize(
    "written", ["END SOURCE 0", "END END SOURCE 0", "end  source 0", "END\u00a0SOURCE", "BEGIN_SOURCE", "END\nSOURCE"]
)
def test_no_page_ends_its_own_quotation(written):
    shown = " ".join(as_data(written).upper().replace("_", " ").split())
    assert "END SOURCE" not in shown
    assert "BEGIN SOURCE" not in shown


def test_control_tokens_of_any_form_are_taken_out():
    for token in ("<|im_start|>", "<\uff5cUser\uff5c>", "<start_of_turn>", "[INST]"):
        assert token not in as_data(f"a {token} b")


@pytest.mark.parametrize(
    "hostile",
    ["[" * 200_000, "[[1" * 60_000, "END " * 60_000, "[[" + " " * 200_000],
    ids=["brackets", "marks", "ends", "blanks"],
)
def test_no_page_keeps_us_from_reading_on(hostile):
    begun = time.monotonic()
    as_data(hostile)
    assert time.monotonic() - begun < 5.0


@pytest.mark.parametrize("limit", [float("inf"), float("nan"), -1.0])
def test_a_budget_that_cannot_be_counted_is_refused(limit):
    with pytest.raises(InputError, match="below 0, or without end"):
        Budget(seconds=limit)


def test_a_budget_longer_than_any_clock_is_kept():
    assert MindSearch(model_of(), Facts()).start("q", key="k").result().stopped_by is None
    search = MindSearch(model_of(), Facts())
    search.settings = search.settings.with_budget(Budget(seconds=1e12))
    assert search.ask("Who taught the architect?").stopped_by is None  # a thread that dies of it is a warning: an error


def test_what_is_scored_is_counted_too():
    meter = Meter(Budget())
    Metered(Filler(), meter).score([{"role": "user", "content": "one two"}], "three four five")
    assert meter.used()["tokens"] == 5


def test_two_threads_that_empty_a_budget_together_tell_of_it_once():
    told = []
    meter = Meter(Budget(tokens=1), on_empty=lambda: told.append("empty"))
    other = threading.Thread(target=meter.tell)

    class NotYet:
        """What is looked up just before it is set: then the other thread has its turn."""

        def __bool__(self):
            if other.ident is None:
                other.start()
                other.join(0.2)
            return False

    meter._told = NotYet()
    meter.spend(tokens=1)
    other.join()
    assert told == ["empty"]


def test_halves_of_characters_are_put_together_or_replaced():
    class Halves(Filler):
        def stream(self, messages, sampling=None, *, cancel=None):  # noqa: ARG002
            yield from ("Eyes \ud83d", "\udc40 look", "\udc40 a", "t \ud83d")

    model = Metered(Halves({"chat": lambda _: "\ud83d"}), Meter(Budget()))
    asked = [{"role": "user", "content": "Say it."}]
    assert model.chat(asked) == "Eyes 👀 look\ufffd at \ufffd"
    assert model.chat_many([asked]) == ["\ufffd"]


def test_a_question_with_half_a_character_is_researched():
    asked = f"{QUESTION} \ud83d"
    answer = MindSearch(model_of(), Facts()).ask(asked)
    report = DeepResearch(Filler(), Pages()).report(asked, mode="quick")
    assert (answer.question, report.question) == (f"{QUESTION} \ufffd",) * 2
    assert report.found


def test_a_question_longer_than_a_model_reads_is_refused_before_anything_is_searched():
    source = Pages()
    with pytest.raises(InputError, match="more than a quarter of the 8,192 tokens"):
        DeepResearch(Filler(), source).report("mill " * 20_000)
    assert source.queries == []


def test_a_model_that_says_nothing_has_the_question_itself_searched():
    class Empty(Rules):
        def text(self, messages):
            return "" if messages[0]["content"].startswith("You plan") else super().text(messages)

    source = Facts()
    answer = MindSearch(RulesModel(Empty([])), source).ask("Who designed the mill at Orra?")
    assert "Petra Lindqvist" in answer.text
    assert answer.found

    class Silent(Rules):
        def text(self, messages):  # noqa: ARG002
            return ""

    nothing = MindSearch(RulesModel(Silent([])), source).ask("Who designed the mill at Orra?")
    assert (nothing.found, nothing.citations) == (False, ())


class NumbersOnly(Rules):
    """A small model behind a server, as one was seen to write: of an answer only the number of its page."""

    def text(self, messages):
        answer = super().text(messages)
        found = None if messages[0]["content"].startswith("You answer") else MARK.search(answer)
        return found[0] if found else answer


def test_a_number_alone_is_answered_in_the_words_of_its_page():
    answer = MindSearch(RulesModel(NumbersOnly(TWO_HOPS)), Facts()).ask("Who taught the architect?")
    assert [node.state for node in answer.graph.searchers()] == ["finished"] * 2
    assert "“Petra Lindqvist designed the mill at Orra.” [[1]]" in answer.text

    class Small(NumbersOnly):
        def text(self, messages):
            return "[0]." if messages[-1]["content"].startswith("Read the excerpts") else super().text(messages)

    small = MindSettings(search=SearchSettings(plain=True))
    answer = MindSearch(RulesModel(Small(TWO_HOPS)), Facts(), settings=small).ask("Who taught the architect?")
    assert "“Petra Lindqvist designed the mill at Orra.” [[1]]" in answer.text


ROUND = "The year is the year and the teacher is the teacher. "


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("The mill was built by the British government in 1900.", "Olof Brandt in Vasa. [[2]]"),
        ("The findings do not say it.", "The findings do not say it."),
        ("Die Auszüge sagen nicht, wer das war.", "Die Auszüge sagen nicht"),
        ("It was Olof Brandt, of Vasa.", "It was Olof Brandt, of Vasa."),
        ("Das war der gesuchte Lehrer, so die Angaben.", "Das war der gesuchte Lehrer, so die Angaben."),
        (f"It was Olof Brandt. {ROUND * 9}", ROUND.strip()),
    ],
)
def test_an_answer_of_names_that_were_nowhere_read_gives_way_to_the_summaries(written, shown):
    class Writes(Rules):
        def text(self, messages):
            return written if messages[0]["content"].startswith("You answer") else super().text(messages)

    answer = MindSearch(RulesModel(Writes(TWO_HOPS)), Facts()).ask("Who taught the architect?")
    assert shown in answer.text
    assert ("British" in answer.text, answer.text.count("The year is") < 2) == (False, True)
    assert ("stand in nothing that was found" in answer.text) is ("British" in written)


def test_a_planner_that_only_talks_says_nothing_that_was_nowhere_read():
    talk = "The architect is Ann Other. " + "The year is the year. " * 40
    answer = MindSearch(model_of([TWO_HOPS[0], talk]), Facts()).ask("Who taught the architect?")
    assert "Ann Other" not in answer.text
    assert "Olof Brandt" in answer.text


def test_a_plan_that_is_refused_twice_in_the_same_words_is_not_asked_for_again():
    nowhere = program('graph.add_node(node_name="n", node_content="Who?")\ngraph.add_edge("nowhere", "n")')
    model = model_of([nowhere])
    answer = MindSearch(model, Facts()).ask("Who designed the mill at Orra?")
    assert sum(one[0]["content"].startswith("You plan") for one in model.prompts) == 2
    assert "Petra Lindqvist" in answer.text


def test_where_the_plan_breaks_off_and_its_searches_found_nothing_the_question_itself_is_searched():
    lost = nodes_program(1).replace("Petra question 0?", "Zzyzx?").replace('"n0"', '"question"')
    source = Facts()
    answer = MindSearch(model_of([lost, "", "", ""]), source).ask("Who designed the mill at Orra?")
    assert [node.state for node in answer.graph.searchers()] == ["failed", "finished"]
    assert "Petra Lindqvist" in answer.text
    one = MindSettings(limits=RunLimits(max_nodes=1))  # it is one more than may be asked, and answered all the same
    answer = MindSearch(model_of([lost, "", "", ""]), source, settings=one).ask("Who designed the mill at Orra?")
    assert (answer.stopped_by, "Petra Lindqvist" in answer.text) == (None, True)
    found = Facts()
    answer = MindSearch(model_of([TWO_HOPS[0], "", "", ""]), found).ask("Who was born in 1871?")
    assert "Who was born in 1871?" not in found.queries
    assert answer.found


def test_a_report_whose_model_server_is_down_says_so_and_keeps_no_step_of_what_stood_in_for_it():
    def down(_):
        raise FetchFailed("The server is down.") from ConnectionError("refused")

    source = Pages()
    with pytest.raises(FetchFailed, match="server is down"):
        DeepResearch(Filler({"Clarify": down}), source).report(QUESTION)
    assert source.queries == []
    broken, events = Filler({"Goals": down}), None
    run = DeepResearch(broken, source).start(QUESTION)
    with pytest.raises(FetchFailed, match="server is down"):
        run.result()
    events = run.log.so_far()
    assert not [one for one in events if one.kind == "step" and one.data["step"] == "plan"]
    report = DeepResearch(Filler(), source).go_on(events).result()  # the server is back
    assert report.sections == DeepResearch(Filler(), Pages()).report(QUESTION).sections


def test_a_server_that_fails_later_leaves_a_report_of_what_was_found():
    calls = []

    def then_down(text):
        calls.append(text)
        raise FetchFailed("The server is down.") from ConnectionError("refused")

    run = DeepResearch(Filler({"Summarised": then_down, "WrittenSection": then_down}), Pages()).start(QUESTION)
    report = run.result()
    assert (report.found, report.stopped_by) == (True, "model")
    assert len(calls) <= 1 + len(report.queries)  # once for each sub-question, not for each passage


BEGUN = '{"id": 1, "kind": "run", "data": {"question": "q"}}'


@pytest.mark.parametrize(
    "line",
    [
        '{"id": 1, "kind": "run", "data": {}}',
        '{"id": 1, "kind": "run", "data": {"question": "q"}, "at": "noon"}',
        '{"id": 1, "kind": "run", "data": {"question": "q"}, "at": null}',
        f'{BEGUN}\n{{"id": 2, "kind": "plan.observation", "data": {{"text": ""}}}}',
        f'{BEGUN}\n{{"id": 2, "kind": "refs", "data": {{"added": {{"x": {{}}}}}}}}',
    ],
    ids=["no question", "no time", "none for a time", "an observation of no turn", "a reference of no number"],
)
def test_a_trace_whose_events_do_not_add_up_is_refused(tmp_path, line):
    path = tmp_path / "run.jsonl"
    path.write_text(f'{{"foveal_trace": 1}}\n{line}\n')
    for reads in (replay, MindSearch(model_of(), Facts()).resume):
        with pytest.raises(InputError, match=r"damaged|no event"):
            reads(path)


def test_an_edit_needs_a_question(tmp_path):
    trace = tmp_path / "run.jsonl"
    search = MindSearch(model_of(), Facts())
    search.ask("q", trace=trace)
    for question in ("", " \n", "x" * 1001):
        with pytest.raises(InputError, match="new question of 'teacher' needs"):
            search.resume(trace, edits={"teacher": question})
    assert search.resume(trace, edits={"teacher": "Who was taught?"}).result().stopped_by is None


def test_a_trace_that_cannot_be_stored_is_not_said_to_be_taken_in(tmp_path):
    trace = tmp_path / "run.jsonl"
    search = MindSearch(model_of(), Facts())
    search.ask("q", trace=trace)
    from foveal.research.traces import load

    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    runs = Runs(database)
    with database.engine.begin() as connection:
        full = "BEFORE INSERT ON research_event WHEN NEW.id > 5 BEGIN SELECT RAISE(ABORT, 'the disk is full'); END"
        connection.execute(text(f"CREATE TRIGGER full_disk {full}"))
    with pytest.raises(DatabaseError, match="was not taken in"):
        runs.take_in(load(trace))
    assert runs.listed() == []
    database.close()


def test_a_trained_planner_with_one_turn_searches_in_it():
    written = SimpleNamespace(query="Orra mill architect")
    model = SimpleNamespace(
        settings=SimpleNamespace(most_queries=2, named=2, transcript=TranscriptSettings()),
        writer=SimpleNamespace(write=lambda transcripts, **_: [written for _ in transcripts]),
    )
    graph = Graph()
    graph.add(Node("root", "Who designed it?", "root"))
    plan = TrainedPlanner(model).plan(  # type: ignore[arg-type]
        Turn(question="Who designed it?", graph=graph, number=1, most=1), on_text=lambda _: None
    )
    assert [one.question for one in plan.nodes] == ["Who designed it?", "Orra mill architect"]


# -- reports ----------------------------------------------------------------------------------------------------------


def test_a_report_that_is_asked_for_now_is_written_without_another_search():
    goals = {"parts": [{"goal": "what the Orra mill grinds", "query": "Orra mill grinds"}]}
    wrong = {"plan": "p", "sentences": [{"text": "The Orra mill was sold to Vasa in 1931.", "cites": ["e1"]}]}
    asked: list[int] = []

    def section(_: str) -> object:
        asked.append(len(source.queries))
        run.answer_now()
        return wrong

    source = Pages()
    run = DeepResearch(Filler({"Goals": lambda _: goals, "WrittenSection": section}), source).start(QUESTION)
    report = run.result()
    assert report.stopped_by == "asked"
    assert len(source.queries) == asked[0]


def test_a_report_that_is_asked_for_while_notes_are_taken_asks_no_model_for_the_rest_and_goes_on_later():
    parts = [{"goal": f"the mill and its {word}", "query": f"Orra mill {word}"} for word in ("barley", "wheel", "oats")]
    taken: list[str] = []

    def summarised(text: str) -> object:
        taken.append(text)
        if asked:
            run.answer_now()
        return {"summary": "The Orra mill grinds barley.", "relevance": 8, "stance": "supports"}

    asked = True
    model = Filler({"Goals": lambda _: {"parts": parts}, "Summarised": summarised})
    source = Pages()
    run = DeepResearch(model, source).start(QUESTION, mode="quick", planner="parallel")
    report = run.result()
    assert report.stopped_by == "asked"
    assert report.found
    assert len(taken) <= 3  # of three sub-queries, those that were being taken
    few, asked = len(taken), False
    whole = DeepResearch(model, source).go_on(run.log.so_far()).result()
    assert whole.stopped_by is None
    assert len(whole.queries) == 3
    again = DeepResearch(Filler({"Goals": lambda _: {"parts": parts}}), Pages())
    usual = again.report(QUESTION, mode="quick", planner="parallel")
    assert again.model.calls.count("Summarised") > few
    assert {one.title for one in whole.sources} == {one.title for one in usual.sources}


def test_a_sub_query_that_had_not_begun_is_not_searched_once_the_report_is_asked_for():
    parts = [{"goal": f"the mill and its {word}", "query": f"Orra mill {word}"} for word in ("barley", "wheel", "oats")]

    @dataclass
    class Asking(Pages):
        def search(self, query, k, *, cancel=None):
            began.wait(10.0)
            run.answer_now()
            return super().search(query, k, cancel=cancel)

    source, began = Asking(), threading.Event()
    research = DeepResearch(Filler({"Goals": lambda _: {"parts": parts}}), source)
    own = settings_of("quick", research.model)
    own = replace(own, plan=replace(own.plan, parallel=1))
    run = research.start(QUESTION, settings=own, planner="parallel")
    began.set()
    report = run.result()
    assert source.queries == ["Orra mill barley"]
    assert [node.error for node in run.state.graph.searchers()] == ["", WANTED_NOW, WANTED_NOW]
    assert (report.found, report.stopped_by) == (True, "asked")  # by what that one search found


def test_no_search_of_a_report_that_is_over_goes_on_for_ever():
    class Stuck(Pages):
        def search(self, query, k, *, cancel=None):
            while cancel:
                cancel.check()
                time.sleep(0.01)
            return super().search(query, k)

    run = DeepResearch(Filler(), Stuck()).start(QUESTION, mode="quick")
    while not any(node.state == "running" for node in run.state.graph.searchers()):
        time.sleep(0.01)
    run.cancel()
    run.result()
    assert {node.state for node in run.state.graph.searchers()} <= OVER


def test_a_report_that_breaks_says_so_as_one_of_our_errors(caplog):
    class Broken(Pages):
        def search(self, query, k, *, cancel=None):  # noqa: ARG002
            raise KeyError("hits")

    with pytest.raises(FovealError, match=r"The run broke \(KeyError: 'hits'\)"):
        DeepResearch(Filler(), Broken()).report(QUESTION)
    assert "the run broke" in caplog.text


def test_a_run_that_breaks_says_what_broke_and_names_no_path(caplog):
    class Planner:
        def plan(self, turn, *, on_text=None, cancel=None):  # noqa: ARG002
            raise OSError(2, "No such file", "/srv/private/plan")

    search = MindSearch(model_of(), Facts(), planner=lambda _: Planner())
    run = search.start(QUESTION)
    with pytest.raises(FovealError, match=r"The run broke \(FileNotFoundError: .*/srv/private/plan"):
        run.result()
    assert run.state.errors == ["The run broke (FileNotFoundError). The log says more."]
    assert "/srv/private" in caplog.text


def test_what_another_version_wrote_is_shown_or_refused_with_a_reason(tmp_path):
    done = {"id": 2, "kind": "done", "data": {"stopped_by": "weather", "found": True}, "at": 0.0}
    trace = tmp_path / "run.jsonl"
    trace.write_text(f'{{"foveal_trace": 1}}\n{BEGUN}\n{json.dumps(done)}\n')
    assert "*Not complete: weather.*" in replay(trace).to_markdown()
    whole = DeepResearch(Filler(), Pages()).report(QUESTION, mode="quick").ledger()
    for wrong in ([], {}, whole | {"sources": 5}, whole | {"sections": [{}]}, {"foveal_report": 1}):
        with pytest.raises(InputError, match="no ledger of a report"):
            Report.of_ledger(wrong)


def test_runs_before_what_is_no_mark():
    for run in (f"a{' ' * 300_000}b", f"a [[1{' ' * 300_000}b", "[" * 300_000):
        assert [without_marks(run), unbracketed(run)] == [run, run]
    assert (without_marks("a  [[1]] b [[ 2 ]]"), unbracketed("a  [[1]] b [2]]")) == ("a b", "a b")
