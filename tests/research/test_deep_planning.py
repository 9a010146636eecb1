"""Query planning of deep research: parallel, sequential, tree, scope, and which planner auto takes."""

from __future__ import annotations

import math
import re
import threading
import time
from dataclasses import replace
from datetime import date
from io import StringIO

import pytest
from report_worlds import PAGES, QUESTION, Filler, Pages, page
from rich.console import Console

from foveal.cli.research_view import tree as view_of
from foveal.errors import Cancelled, FetchFailed, InputError, UnknownName
from foveal.models import load_encoder
from foveal.research.asked_dates import dates_in
from foveal.research.deep import DeepResearch, settings_of
from foveal.research.likeness import Likeness, distinct
from foveal.research.planning import (
    Finding,
    Next,
    PlanSettings,
    SubQuery,
    choose,
    next_breadth,
    next_messages,
    parsed,
    predicted,
)
from foveal.research.planning_tree import C, TreeNode, above, back_up, best_leaf, selected, tree
from foveal.research.report import Brief
from foveal.research.scope import brief_of, clarifying
from foveal.research.verification import Verifier, shipped

TODAY = date(2026, 1, 20)


def goals(*queries):
    return lambda _: {"parts": [{"goal": f"goal of {one}", "query": one} for one in queries]}


def nodes(run):
    return [(node.name, node.content) for node in run.state.graph.searchers()]


# -- parallel ---------------------------------------------------------------------------------------------------------


def test_parallel_one_call_gives_distinct_sub_queries_with_goals_and_near_duplicates_are_one():
    model = Filler({"Goals": goals("mill barley", "barley mill", "Petra Lindqvist bridges")})
    source = Pages()
    run = DeepResearch(model, source).start(QUESTION, mode="quick", planner="parallel")
    run.result()
    assert model.calls.count("Goals") == 1
    assert source.queries == ["mill barley", "Petra Lindqvist bridges", QUESTION]  # the 2nd asks what the 1st does
    assert nodes(run)[0] == ("search 1", "goal of mill barley")
    vectors = Likeness().vectors(["mill barley", "barley mill"])
    assert float(vectors[0] @ vectors[1]) > 0.92


def test_parallel_goes_deeper_at_half_the_breadth_and_its_searches_are_predicted():
    seen = []

    def parts(text):
        seen.append(text)
        most = int(re.findall(r"up to (\d) sub-queries", text)[0])
        return {"parts": [{"goal": f"the {word}{len(seen)} of Orra", "query": f"Orra mill {word}{len(seen)}"}
                          for word in ("wheel", "stone", "river")[:most]]}  # fmt: skip

    source = Pages()
    run = DeepResearch(Filler({"Goals": parts}), source).start(QUESTION, mode="normal", planner="parallel")
    run.result()
    assert (next_breadth(3), next_breadth(4), next_breadth(8)) == (2, 2, 4)
    assert predicted("parallel", PlanSettings(breadth=3, depth=2)) == 3 + 3 * 2 == 9
    assert predicted("parallel", PlanSettings(breadth=4, depth=2)) == 4 + 4 * 2 == 12
    assert len(source.queries) == 9
    assert run.state.plan["searches"] == 9
    above = [list(run.state.graph.parents(f"search {n}")) for n in (1, 4, 6, 8)]
    assert above == [["root"], ["search 1"], ["search 2"], ["search 3"]]
    assert len(seen) == 4
    assert all("Found so far" in one for one in seen[1:])


def test_parallel_searches_run_at_once_but_no_more_than_allowed():
    now, most, lock = [0], [0], threading.Lock()

    class Slow(Pages):
        def search(self, query, k, *, cancel=None):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            with lock:
                now[0] -= 1
            return super().search(query, k, cancel=cancel)

    model = Filler(
        {"Goals": goals(*(f"mill part{n} {word}" for n, word in enumerate(("oak", "wheel", "roof", "sack"))))}
    )
    own = settings_of("quick", model)
    own = replace(own, plan=replace(own.plan, breadth=4, parallel=2))
    DeepResearch(model, Slow()).start(QUESTION, planner="parallel", settings=own).result()
    assert most[0] == 2


def test_parallel_without_any_written_query_searches_the_question_itself():
    def nothing(_):
        raise InputError("not to be read")

    source = Pages()
    report = DeepResearch(Filler({"Goals": nothing}), source).report(QUESTION, mode="quick", planner="parallel")
    assert source.queries == [QUESTION]
    assert report.found


def test_parallel_asks_no_branch_what_another_one_is_asked():
    asked = iter([("wheel of oak", "stone of slate", "river of ice"), *[("rye and oats", "barley of Vasa")] * 9])
    source = Pages()
    model = Filler({"Goals": lambda text: goals(*next(asked))(text)})
    DeepResearch(model, source).start(QUESTION, mode="normal", planner="parallel").result()
    assert {"rye and oats", "barley of Vasa"} <= set(source.queries)
    assert len(source.queries) == len(set(source.queries))


# -- sequential -------------------------------------------------------------------------------------------------------


def test_sequential_reads_what_was_found_refuses_what_was_asked_and_says_so():
    wanted = iter(["Petra Lindqvist", QUESTION, "petra lindqvist?", "Olof Brandt", ""])
    asked = []

    def following(text):
        asked.append(text)
        query = next(wanted)
        return {"action": "search" if query else "stop", "query": query}

    source = Pages()
    run = DeepResearch(Filler({"Next": following}), source).start(QUESTION, planner="sequential")
    report = run.result()
    assert source.queries == [QUESTION, "Petra Lindqvist", "Olof Brandt"]
    assert report.queries == tuple(source.queries)
    assert "Petra Lindqvist designed the Orra mill" in asked[0]  # it reads the evidence so far
    assert f"Already searched: {QUESTION}" in asked[0]
    assert "Your last query was searched already" not in asked[1]
    assert all("Your last query was searched already" in one for one in asked[2:4])
    assert list(run.state.graph.parents("search 3")) == ["search 2"]


def test_sequential_that_only_repeats_itself_ends():
    model = Filler({"Next": lambda _: {"action": "search", "query": QUESTION}})
    source = Pages()
    assert DeepResearch(model, source).report(QUESTION, planner="sequential").found
    assert source.queries == [QUESTION]
    assert model.calls.count("Next") == 3


def test_sequential_a_small_model_may_not_stop_after_the_first_search():
    model = Filler(
        {"Queries": lambda _: {"queries": ["Olof Brandt Vasa"]}, "Next": lambda _: {"action": "stop", "query": ""}}
    )
    source = Pages()
    own = settings_of("quick", model)
    own = replace(own, plan=replace(own.plan, plain=True, iterations=4))
    DeepResearch(model, source).start(QUESTION, planner="sequential", settings=own).result()
    assert source.queries == [QUESTION, "Olof Brandt Vasa"]
    assert "Petra Lindqvist designed the Orra mill" in next(one for one in model.prompts if "Write 1 short" in one)


def test_the_prompt_of_a_long_search_is_told_how_much_it_leaves_out():
    asked = [f"query {number}" for number in range(14)]
    [_, told] = next_messages("Who?", ["x" * 300], asked, again=False)
    assert f"Already searched: 2 others; {'; '.join(asked[2:])}." in told["content"]
    assert f"- {'x' * 240}\n" in told["content"]
    assert (
        f"Already searched: {'; '.join(asked[2:])}." in next_messages("Who?", [], asked[2:], again=False)[1]["content"]
    )


class Unread:
    """A ChatModel whose words cannot be read, so many times; it keeps how they were drawn."""

    def __init__(self, error, times):
        self.error, self.times, self.drawn = error, times, []

    def parse(self, messages, schema, sampling):  # noqa: ARG002
        self.drawn.append((sampling.seed, sampling.temperature))
        if len(self.drawn) <= self.times:
            raise self.error
        return schema(action="stop", query="")


def test_what_cannot_be_read_is_drawn_anew_twice_and_a_server_that_fails_or_a_stop_is_told():
    for times, found in ((0, True), (2, True), (3, False)):
        model = Unread(InputError("no JSON"), times)
        assert (parsed(model, [], Next, 9) is not None) is found
        assert model.drawn == [(0, 0.0), (1, 0.7), (2, 0.7)][: times + 1]
    for error in (FetchFailed("no server"), Cancelled("stopped")):
        model = Unread(error, 1)
        with pytest.raises(type(error)):
            parsed(model, [], Next, 9)
        assert len(model.drawn) == 1


def test_how_far_a_planner_goes():
    assert [predicted(one, PlanSettings(iterations=5)) for one in ("single", "sequential", "tree")] == [1, 5, 5]
    assert PlanSettings(breadth=8).breadth == 8
    for wrong in ({"breadth": 9}, {"breadth": 0}, {"depth": 0}, {"parallel": 0}, {"iterations": 0}):
        with pytest.raises(InputError, match="breadth from 1 to 8"):
            PlanSettings(**wrong)


# -- tree -------------------------------------------------------------------------------------------------------------


def uct_by_definition(node):
    return node.total / node.visits + 1.4 * math.sqrt(math.log(node.parent.visits) / node.visits)


def test_tree_selects_by_uct_and_backs_up_the_mean():
    root = TreeNode(None, open=[])
    for value, visits in ((0.9, 3), (0.2, 1), (0.6, 2)):
        child = TreeNode(Finding("x", SubQuery("q", "g")), root)
        root.children.append(child)
        for _ in range(visits):
            back_up(child, value)
    assert (root.visits, root.mean) == (6, pytest.approx((0.9 * 3 + 0.2 + 0.6 * 2) / 6))
    assert C == 1.4
    assert [one.uct() for one in root.children] == pytest.approx([uct_by_definition(one) for one in root.children])
    assert selected(root) is max(root.children, key=uct_by_definition)
    assert above(root.children[0]) == [root.children[0], root]
    root.children[0].verified = 0.7
    assert best_leaf(root) is root.children[0]


class Sparse:
    """Checks by a table."""

    sure = 0.9

    def __init__(self, score):
        self.score = score

    def check(self, claim, passages):
        from foveal.research.checks import WordChecks

        return replace(WordChecks().check(claim, passages), score=self.score)

    def check_many(self, pairs):
        return [self.check(*one) for one in pairs]


def parts_of_the_mill(text):
    place = text.rpartition("Question: ")[2].partition("\n")[0].split()[-1].strip("?")
    return {"parts": [{"goal": f"Orra mill {word} {place}", "query": f"Orra mill {word} {place}"}
                      for word in ("wheel", "stone", "river")]}  # fmt: skip


def test_tree_expands_at_most_three_children_shows_values_and_stops_when_its_searches_are_used_up():
    model, source = Filler({"Goals": parts_of_the_mill}), Pages()
    run = DeepResearch(model, source, checks=Sparse(0.5)).start(QUESTION, mode="normal", planner="tree")
    run.result()
    graph = run.state.graph
    assert len(source.queries) == settings_of("normal", model).plan.iterations == 6
    children = {
        name: [one.name for one in graph.searchers() if name in graph.parents(one.name)] for name in graph.nodes
    }
    assert len(children["root"]) == 3
    assert all(len(one) <= 3 for one in children.values())
    assert sum(map(len, children.values())) == 6
    assert run.state.values["search 1"]["value"] == pytest.approx(0.6)  # mean of 0.5 checked and 0.7 estimated
    assert run.state.values["search 1"]["visits"] == 1 + len(children["search 1"])
    shown = Console(width=120, file=StringIO())
    shown.print(view_of(run.state))
    assert "value 0.60" in shown.file.getvalue()


def test_tree_stops_at_a_leaf_that_is_borne_out():
    source = Pages()
    model = Filler({"Goals": parts_of_the_mill})
    DeepResearch(model, source, checks=Sparse(0.95)).report(QUESTION, mode="normal", planner="tree")
    assert len(source.queries) == 3


class Planned:
    """A desk whose plans are written down, by the branch that they are of; queries of `bare` find nothing."""

    question, brief, likeness, taught = "What turned the mill?", Brief(goal="What turned the mill?"), Likeness(), None

    def __init__(self, plans, *, bare=(), iterations=20):
        self.plans, self.bare, self.plan = plans, bare, PlanSettings(iterations=iterations)
        self.queries, self.split, self.values = [], [], {}

    def once(self, _kind, key, _work):
        self.split.append(key.split()[2:-1])
        return [[one, one] for one in self.plans.get(" ".join(key.split()[2:-1]), ())]

    def research(self, subs):
        self.queries += [one.query for one in subs]
        return [
            Finding(f"search {len(self.queries)}", one, () if one.query in self.bare else ("evidence",)) for one in subs
        ]

    def asked(self):
        return list(self.queries)

    def lines(self, _keys):
        return []

    def known(self, _question, _keys):
        return []

    def over(self):
        return False


class Judged:
    """Judges by a table: how well each query's answer is borne out, and what is enough."""

    def __init__(self, borne_out, enough=2.0, hoped=()):
        self.borne_out, self.enough, self.hoped = borne_out, enough, hoped

    def verified(self, finding):
        return self.borne_out.get(finding.sub.query, 0.0)

    def settled(self, finding):
        return self.verified(finding) >= self.enough

    def sure(self, finding):
        return float(finding.sub.query in self.hoped)

    def shown(self, _node):
        pass


ROOT = ("wheel", "stone", "river")


def test_tree_follows_no_branch_that_found_nothing_and_goes_on_where_one_has_no_more_to_ask():
    desk = Planned({"root": ROOT, "search 2": ("granite quarry",)}, bare=("river", "granite quarry"))
    found = tree(desk, Judged({"wheel": 0.9, "stone": 0.5}))
    assert [one.sub.query for one in found] == [*ROOT, "granite quarry"]
    assert desk.split == [["root"], ["search", "1"], ["search", "2"]]


def test_tree_asks_of_no_branch_what_another_one_has_asked_since():
    plans = {"root": ROOT[:2], "search 1": ("oak beams", "water rights"), "search 2": ("water rights",)}
    desk = Planned(plans, bare=("oak beams", "water rights", Planned.question))
    tree(desk, Judged({"wheel": 0.5, "stone": 0.5}))
    assert sorted(desk.queries) == sorted([*ROOT[:2], Planned.question, "oak beams", "water rights"])


def test_tree_stops_by_the_leaf_that_is_borne_out_best_whatever_the_model_hopes_of_another():
    desk = Planned({"root": ROOT, "search 2": ("oak beams",)})
    tree(desk, Judged({"stone": 0.5, "oak beams": 0.9}, enough=0.9, hoped=("stone", "river")))
    assert desk.queries == [*ROOT, "oak beams"]


@pytest.mark.slow
def test_tree_stops_by_what_the_verifier_s_score_means_not_by_the_score():
    """A well supported answer scores some 0.85, never 0.9; of claims that do, nine in ten are true."""
    verifier = Verifier(load_encoder("minilm"))
    runs = {}
    for name, said in (
        ("supported", "The Orra mill grinds barley for the whole valley."),
        ("missing", "The Orra mill grinds barley for the whole valley since 1711."),
        ("denied", "The Orra mill grinds no barley for the whole valley."),
    ):
        source, model = Pages(), Filler({"Goals": parts_of_the_mill, "chat": lambda _, said=said: said})
        run = DeepResearch(model, source, checks=verifier).start(QUESTION, mode="normal", planner="tree")
        run.result()
        runs[name] = len(source.queries), max(one["verified"] for one in run.state.values.values())
    assert runs["supported"][0] == 3
    assert verifier.sure <= runs["supported"][1] < 0.9
    assert runs["missing"][0] > 3
    assert runs["denied"][0] > 3
    assert 0.27 < verifier.sure == shipped()["plain"].sure < 0.9


# -- scope ------------------------------------------------------------------------------------------------------------


def test_scope_asks_at_most_one_round_which_can_be_skipped_and_writes_a_brief():
    unclear = Filler({"Clarify": lambda _: {"clear": False, "questions": ["Which mill?", "Since when?"]}})
    rounds = []

    def person(questions):
        rounds.append(list(questions))
        return ["the one at Orra", "since 1995"]

    run = DeepResearch(unclear, Pages()).start("What does the mill grind?", ask=person)
    report = run.result()
    assert rounds == [["Which mill?", "Since when?"]]
    assert unclear.calls.count("Clarify") == 1
    assert report.brief.since == "1995-01-01"
    assert {one.title for one in report.sources} == {"River mills", "Petra Lindqvist"}  # those of before go
    assert "the one at Orra" in next(text for text in unclear.prompts if "Write the brief" in text)
    assert run.state.brief["must_cover"] == ["what it grinds"]
    skipped = DeepResearch(unclear, Pages()).report("What does the mill grind?", ask=lambda _: None)
    assert skipped.found
    assert skipped.brief.since == ""
    silent = DeepResearch(unclear, Pages()).report("What does the mill grind?")  # nobody is there: nothing is answered
    assert silent.found


def test_scope_by_rule_for_a_small_model_and_dates():
    assert clarifying(Filler(), "Is it safe?", plain=True)
    assert clarifying(Filler(), QUESTION, plain=True) == []
    assert brief_of(Filler(), QUESTION, {}, words=300, today=TODAY, plain=True) == Brief(goal=QUESTION, words=300)
    for text, dates in (
        ("mills since 2010", ("2010-01-01", "")),
        ("mills after 2010", ("2011-01-01", "")),
        ("papers on mills published between 2010 and 2015", ("2010-01-01", "2015-12-31")),
        ("How did mills change from 1990 to 2005?", ("1990-01-01", "")),  # what came later tells of it, too
        ("What did mills before 1901 grind?", ("", "")),
        ("Articles before 1901. What did mills grind by 1850?", ("", "1900-12-31")),
        ("papers on mills published between 2015 and 2010", ("2010-01-01", "2015-12-31")),
        ("mills in the last 5 years", ("2021-01-20", "")),
        ("mills", ("", "")),
    ):
        assert dates_in(text, TODAY) == dates
    assert dates_in("before 1901", TODAY, of_sources=True) == ("", "1900-12-31")
    asked = brief_of(
        Filler(), "What did mills grind since 1901?", {"Since when?": "until 1950"}, words=300, today=TODAY, plain=True
    )
    assert (asked.since, asked.until) == ("1901-01-01", "1950-12-31")


def test_what_a_brief_leaves_out_and_its_language_are_told_to_planner_and_writer():
    model = Filler()
    brief = Brief(
        goal=QUESTION, must_cover=("oats",), out_of_scope=("the bridges of Vasa",), language="Swedish", words=300
    )
    DeepResearch(model, Pages()).report(QUESTION, mode="quick", brief=brief)
    told = dict(zip(model.calls, model.prompts, strict=True))
    assert "The report must cover: oats." in told["Goals"]
    assert "leaves out, so ask nothing on it: the bridges of Vasa." in told["Goals"]
    assert "Leave out: the bridges of Vasa. Write in this language: Swedish." in told["WrittenSection"]
    assert "Write in this language: Swedish." in told["chat"]  # the short answer
    plain = Filler()
    DeepResearch(plain, Pages()).report(QUESTION, mode="quick", brief=Brief(goal=QUESTION, words=300))
    assert not any("Leave out:" in one or "leaves out" in one or "in this language" in one for one in plain.prompts)


def test_a_brief_that_cannot_be_used_lists_its_fields():
    with pytest.raises(InputError, match="colour, goal, must_cover, words") as caught:
        Brief.from_row({"colour": "red", "goal": 3, "words": 10, "must_cover": "all"})
    assert "wrong or unknown" in str(caught.value)
    for day in ("January 2020", "2020", "31.01.2020", "20200131"):  # days are compared as texts
        with pytest.raises(InputError, match="unknown: since"):
            Brief.from_row({"goal": "g", "since": day, "until": "2024-01-31"})
    with pytest.raises(InputError, match="unknown: since, until"):
        Brief.from_row({"goal": "g", "since": "2020-01-01", "until": "2019-12-31"})
    assert Brief.from_row({"goal": "g", "must_cover": ["a"]}) == Brief(goal="g", must_cover=("a",))


# -- auto -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "planner"),
    [
        ("Who is the mother of the director of Iron Sky?", "sequential"),
        ("Where was the founder of the company that makes Orra mills born?", "sequential"),
        ("Compare barley, oats and rye on three points", "parallel"),
        ("How does vitamin D affect the immune system?", "parallel"),
        ("What are the causes and treatments of asthma?", "parallel"),
        ("Compare the mother of the director of Iron Sky with his", "parallel"),
    ],
)
def test_auto_takes_the_sequential_planner_where_a_name_must_be_found_first(question, planner):
    name, reason = choose(question)
    assert (name, bool(reason)) == (planner, True)


def test_auto_goes_on_with_the_tree_once_sources_contradict_each_other_and_logs_why():
    odd = page("Old guide", "The wheel of the Orra mill has 12 paddles of oak. It was a wet year.", year=1890)

    def summary(text):
        said = re.search(r"The wheel[^.]*\.", text)
        return {"summary": said[0] if said else "The mill stands.", "relevance": 7, "stance": "supports"}

    summaries = {"Summarised": summary}
    run = DeepResearch(Filler(summaries), Pages((*PAGES, odd))).start(QUESTION, mode="normal")
    report = run.result()
    told = [event.data for event in run.log.so_far() if event.kind == "plan.chosen"]
    assert [one["planner"] for one in told] == ["parallel", "tree"]
    assert "contradict each other" in told[1]["reason"]
    assert report.planner == "parallel, then tree"


def test_a_planner_that_is_none_is_refused():
    with pytest.raises(UnknownName, match="auto, single, parallel"):
        DeepResearch(Filler(), Pages()).report(QUESTION, planner="psychic")
    assert distinct(["a mill", "a mill"], Likeness()) == [0]
