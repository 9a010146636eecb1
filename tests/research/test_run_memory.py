"""The four operations of a run's memory: consolidation, indexing, updating, forgetting; each held against its
definition."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from honest import HashedWords
from tiny import tiny

from foveal.bench.report_memory import Clock, growth, last_messages, live, share_right
from foveal.bench.report_memory_world import World
from foveal.errors import InputError
from foveal.evaluation.bm25 import K1, B
from foveal.models.chat import GREEDY
from foveal.models.grammar import checked_schema
from foveal.models.local_chat import LocalChat
from foveal.research import memory_consolidation, memory_updating
from foveal.research.memory import MemorySettings, RunMemory
from foveal.research.memory_consolidation import Notes, cited_keys, compacted, extracted, fills, rewritten
from foveal.research.memory_facts import Fact, said
from foveal.research.memory_forgetting import forgotten, retention
from foveal.research.memory_lookup import (
    DAMPING,
    LookupSettings,
    by_entity,
    by_matter,
    by_words,
    lookup,
    normalised,
    personalised_pagerank,
    recency,
)
from foveal.research.memory_updating import Choosing, applied, by_rule

MAY, JUNE, JULY = (datetime(2021, month, 1, tzinfo=UTC) for month in (5, 6, 7))


def words(text: str) -> int:
    return len(text.split())


def fact(subject="mill", relation="owner", value="Ada", *, since=MAY, key="", **more) -> Fact:
    return Fact(subject=subject, relation=relation, object=value, valid_from=since, created=since, key=key, **more)


def memory(**more) -> RunMemory:
    return RunMemory(count=words, clock=Clock(JULY), **more)


class Scripted:
    """A ChatModel of given answers, in order; it keeps what it was asked."""

    name, context_tokens = "scripted", 4096

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    def chat(self, messages, sampling=GREEDY, *, cancel=None):  # noqa: ARG002
        self.asked.append(messages[-1]["content"])
        return self.answers.pop(0)

    def parse(self, messages, schema, sampling=GREEDY, *, cancel=None):  # noqa: ARG002
        return schema.model_validate_json(self.chat(messages, sampling))

    def count_tokens(self, text):
        return words(text)


# -- consolidation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sentence", "triple", "since"),
    [
        ("In May 2021 the owner of the mill was Ada Hart.", ("mill", "owner", "Ada Hart"), MAY),
        ("The mill's owner changed to Ada Hart on 14 June 2021.", ("mill", "owner", "Ada Hart"), JUNE.replace(day=14)),
        ("Since May 2021, Ada Hart is the owner of the mill.", ("mill", "owner", "Ada Hart"), MAY),
        ("Ada Hart took over as owner of the mill in May 2021.", ("mill", "owner", "Ada Hart"), MAY),
        ("Ada Hart was appointed director of the mill.", ("mill", "director", "Ada Hart"), JULY),
        ("However, the owner of the mill is Ada Hart.", ("mill", "owner", "Ada Hart"), JULY),
        ("As of 2021-05-01, the annual output of the mill is 12 tonnes.", ("mill", "annual output", "12 tonnes"), MAY),
    ],
)
def test_consolidation_reads_facts_with_their_time_and_source(sentence, triple, since):
    (found,) = said(f"It rained. {sentence}", source="e3", created=JULY)
    assert (found.triple, found.valid_from, found.source, found.text) == (triple, since, "e3", sentence)


def test_consolidation_by_a_model_keeps_only_what_the_text_says():
    answer = {
        "facts": [
            {"subject": "dam", "relation": "feeds", "object": "mill"},
            {"subject": "dam", "relation": "feeds", "object": "Leeds"},
        ],
        "open_questions": ["Who paid?"],
    }
    model = Scripted(json.dumps(answer))
    found = extracted("The owner of the mill is Ada. A dam fed the mill well.", source="e1", now=JULY, model=model)
    assert [one.triple for one in found.facts] == [("mill", "owner", "Ada"), ("dam", "feeds", "mill")]
    assert found.open_questions == ("Who paid?",)
    assert "Ada" not in model.asked[0]  # what the rule has read is not read again


def test_open_questions_are_kept_until_they_are_answered():
    kept = memory()
    kept.consolidate("The mill burnt. Who owned it then? The cause of the fire is not known.", source="e1")
    assert kept.notes.open_questions == ("Who owned it then?", "The cause of the fire is not known.")
    assert "Open: Who owned it then?" in kept.context("mill")
    assert kept.notes.answered("Who owned it then?").open_questions == ("The cause of the fire is not known.",)


def test_what_a_model_is_asked_for_is_bounded():
    assert checked_schema(memory_consolidation._Found)["properties"].keys() == {"facts", "open_questions"}
    assert checked_schema(memory_updating._Chosen)["properties"].keys() == {"operation", "number"}


def test_compaction_at_60_percent_keeps_every_citation_and_drops_prose():
    kept = memory(settings=MemorySettings(window=256))
    texts = [
        f"In {1900 + at} the owner of mill {at} was Ada {at}. The weather of day {at} was fine all along."
        for at in range(60)
    ]
    loose = "What the dam cost nobody knows to this day."
    for at, text in enumerate([*texts, loose], 1):
        kept.consolidate(text, source=f"e{at}")
        assert fills(kept.notes, (), words, 256) <= 0.6
        assert kept.notes.prose or words(kept.notes.summary) <= 256 * 0.6 / 2  # so that it is not done at each text
    carried = {one.source for one in kept.facts} | set(cited_keys(kept.notes.shown))
    assert carried == {f"e{at}" for at in range(1, 62)}
    assert words(kept.notes.shown) < sum(map(words, texts)) / 4


def test_a_sentence_whose_citation_no_fact_carries_becomes_a_fact_word_for_word():
    notes = Notes(open_questions=("who?",)).with_text("Nobody knows. It may be.", "e7").with_text("Old news. [[e8]]")
    small, more = compacted(notes, [fact(source="e8")], tokens=40, count=words)
    assert [(one.source, one.object) for one in more] == [("e7", "It may be [[e7]].")]
    assert (small.prose, small.open_questions) == ((), ("who?",))


def test_a_models_summary_with_a_made_up_citation_is_not_taken():
    notes = Notes().with_text(" ".join(f"Word{at} was seen in the field." for at in range(30)), "e1")
    model = Scripted("All was seen [[e9]].")
    small, _ = compacted(notes, [], tokens=40, count=words, model=model)
    assert cited_keys(small.summary) == ["e1"]
    assert words(small.summary) <= 40
    long, _ = compacted(notes, [], tokens=40, count=words, model=Scripted(f"{'Words ' * 60}[[e1]]."))
    assert words(long.summary) <= 40
    good, _ = compacted(notes, [], tokens=40, count=words, model=Scripted("Words were seen [[e1]]."))
    assert good.summary == "Words were seen [[e1]]."


def test_the_constant_state_stays_in_its_size_and_keeps_what_is_cited():
    state = ""
    for at in range(40):
        state = rewritten(
            state, f"On day {at} it rained over field {at} [[e{at}]].", "rain?", count=words, tokens=64, cited={"e3"}
        )
        assert words(state) <= 64
    assert "[[e3]]" in state
    assert "[[e39]]" in state
    model = Scripted("It rained on all days.")
    assert "[[e3]]" in rewritten(state, "Nothing new.", "rain?", count=words, tokens=64, cited={"e3"}, model=model)
    with pytest.raises(InputError, match="32 or more"):
        rewritten("", "a", "b", count=words, tokens=8)


# -- indexing ---------------------------------------------------------------------------------------------------------


def test_the_score_is_recency_and_importance_and_relevance_each_normalised():
    facts = [
        fact("mill", "owner", "Ada", key="m1", importance=2),
        fact("dam", "height", "12 m", since=JUNE, key="m2", importance=9),
        fact("dam", "owner", "Bo", since=JULY, key="m3", importance=5),
    ]
    question, now = "Who is the owner of the dam?", JULY + timedelta(hours=10)
    recent = [0.995 ** ((now - one.created).total_seconds() / 3600) for one in facts]
    relevance = sum(normalised(part(facts, question)) for part in (by_words, by_matter, by_entity))
    wanted = normalised(np.array(recent)) + normalised(np.array([2.0, 9, 5])) + normalised(relevance)
    found = lookup(facts, question, now=now, k=3)
    assert {one.key: score for one, score in found} == pytest.approx(dict(zip(("m1", "m2", "m3"), wanted, strict=True)))
    assert found[0][0].key == "m3"
    only = LookupSettings(recency=0, relevance=0)
    assert lookup(facts, question, now=now, k=1, settings=only)[0][0].key == "m2"


def test_words_are_weighed_by_bm25_and_what_has_no_time_is_not_recent():
    facts = [fact("mill", "owner", "Ada Hart"), fact("dam", "owner", "Bo"), fact("dam", "height", "12 m", since=None)]
    texts = ["mill owner ada hart", "dam owner bo", "dam height 12 m"]
    mean = sum(map(words, texts)) / 3

    def weight(word, text):
        held = sum(word in one.split() for one in texts)
        return math.log(1 + (3 - held + 0.5) / (held + 0.5)) / (1 + K1 * (1 - B + B * words(text) / mean))

    wanted = [weight("mill", texts[0]) + weight("owner", texts[0]), weight("owner", texts[1]), 0.0]
    assert by_words(facts, "Who is the owner of the mill?") == pytest.approx(wanted)
    assert recency(facts, MAY + timedelta(hours=2)) == pytest.approx([0.995**2, 0.995**2, 0.0])


def test_personalised_pagerank_is_its_definition():
    edges = [(0, 1), (1, 2), (2, 3), (1, 3)]
    begin = np.array([1.0, 0, 0, 0, 0])  # node 4 stands alone
    step = np.zeros((5, 5))
    for one, other in edges:
        step[one, other] = step[other, one] = 1
    step = step / np.maximum(step.sum(0), 1)
    step[:, 4] = begin
    exact = np.linalg.solve(np.eye(5) - DAMPING * step, (1 - DAMPING) * begin)
    np.testing.assert_allclose(personalised_pagerank(5, edges, begin, rounds=200), exact, atol=1e-9)


def test_entities_lead_to_facts_that_do_not_share_a_word_with_the_question():
    facts = [fact("mill", "owner", "Ada"), fact("Ada", "birthplace", "Graz"), fact("Bo", "birthplace", "Lund")]
    ranks = by_entity(facts, "Where was the owner of the mill born?")
    assert ranks[1] > ranks[2]
    assert not by_entity(facts, "Anything else of Adam?").any()


def test_meaning_time_and_an_empty_memory():
    encoder = HashedWords(dimension=64)
    facts = [fact("mill", "owner", "Ada", key="m1", valid_to=JUNE), fact("mill", "owner", "Bo", since=JUNE, key="m2")]
    assert [one.object for one, _ in lookup(facts, "owner of the mill", now=JULY, at=MAY, encoder=encoder)] == ["Ada"]
    assert [one.object for one, _ in lookup(facts, "owner of the mill", now=JULY, at=JULY)] == ["Bo"]
    assert lookup([], "owner?", now=JULY) == []
    assert memory().recall("owner?") == []
    with pytest.raises(InputError, match="k=0"):
        lookup(facts, "x", now=JULY, k=0)
    with pytest.raises(InputError, match="above 0"):
        LookupSettings(recency=0, importance=0, relevance=0)


# -- updating ---------------------------------------------------------------------------------------------------------


def test_the_four_operations_by_rule():
    known = [fact(key="m1")]
    cases = {
        "ADD": fact("dam"),
        "NOOP": fact("The Mill", "owner", "ada", since=JUNE),
        "UPDATE": fact(value="Bo", since=JUNE),
        "DELETE": fact(value="nobody", since=JUNE),
    }
    assert {name: by_rule(new, known).operation for name, new in cases.items()} == {name: name for name in cases}


def test_update_supersedes_and_keeps_history():
    kept = memory()
    assert [kept.add(fact(value=value, since=since)).operation for value, since in (("Ada", MAY), ("Bo", JULY))] == [
        "ADD",
        "UPDATE",
    ]
    assert [one.object for one in kept.recall("owner of the mill")] == ["Bo"]
    assert [one.object for one in kept.recall("owner of the mill", at=MAY)] == ["Ada"]
    old = next(one for one in kept.facts if one.object == "Ada")
    assert (old.valid_to, old.superseded_by) == (JULY, "m2")
    kept.add(fact(value="Cy", since=JUNE))  # told late: between the two
    assert [kept.recall("owner of the mill", at=at)[0].object for at in (MAY, JUNE, JULY)] == ["Ada", "Cy", "Bo"]
    assert [one.object for one in kept.recall("owner of the mill")] == ["Bo"]


def test_delete_ends_a_fact_and_keeps_it():
    kept = memory()
    kept.add(fact())
    assert kept.add(fact(value="nobody", since=JUNE)).operation == "DELETE"
    assert kept.recall("owner of the mill") == []
    assert kept.recall("owner of the mill", at=MAY)[0].object == "Ada"


def test_a_contradiction_keeps_both_and_raises_a_conflict():
    kept = memory()
    kept.add(fact(source="e1"))
    kept.add(fact(value="Bo", source="e2"))
    assert {one.object for one in kept.recall("owner of the mill", at=MAY)} == {"Ada", "Bo"}
    (conflict,) = kept.conflicts
    assert (conflict.one, conflict.other, conflict.why) == ("m1", "m2", "mill: owner is Ada and Bo at one time")
    kept.add(fact(relation="member", value="Ada"))
    kept.add(fact(relation="member", value="Bo"))
    assert len(kept.conflicts) == 1  # a mill may have several members


def test_a_model_chooses_under_a_grammar_and_cannot_do_what_does_not_fit():
    known = [fact(key="m1"), fact(relation="height", value="12 m", key="m2")]
    new = fact(value="Bo", since=JUNE)
    assert Choosing(Scripted('{"operation": "NOOP", "number": 1}'))(new, known).operation == "NOOP"
    assert Choosing(Scripted('{"operation": "ADD", "number": 0}'))(new, known).operation == "ADD"
    wrong = Choosing(Scripted('{"operation": "DELETE", "number": 2}'))(new, known)  # the height is another matter
    assert (wrong.operation, wrong.target) == ("UPDATE", "m1")
    known_at_once = Choosing(Scripted('{"operation": "UPDATE", "number": 1}'))(fact(value="Bo"), known)
    assert (known_at_once.operation, known_at_once.conflict) == ("ADD", True)  # two at one time are no news
    silent = Scripted()
    assert Choosing(silent)(fact("dam"), known).operation == "ADD"  # nothing to compare: nothing is asked
    assert silent.asked == []


def test_applied_edits_nothing_that_it_is_given():
    known = [fact(key="m1")]
    before = list(known)
    for new in (fact(value="Bo", since=JUNE, key="m2"), fact(value="nobody", since=JUNE, key="m2"), fact(key="m2")):
        applied(by_rule(new, known), new, known, now=JULY)
        assert known == before


def test_updating_an_older_value_that_contradicts_another_of_its_date_leaves_both_and_says_so():
    held = memory()
    for value, since in (("Ada", MAY), ("Bo", JUNE), ("Cy", MAY)):
        held.add(fact(value=value, since=since))
    facts = {one.object: one for one in held.facts}
    assert {name: (one.valid_from, one.valid_to) for name, one in facts.items()} == {
        "Ada": (MAY, JUNE),
        "Bo": (JUNE, None),
        "Cy": (MAY, JUNE),
    }
    assert [{one.one, one.other} for one in held.conflicts] == [{facts["Ada"].key, facts["Cy"].key}]
    assert [one.object for one in held.recall("Who owns the mill?")] == ["Bo"]


def told(*values) -> RunMemory:
    """A memory of the owners of the mill, each from a date on."""
    kept = memory()
    for value, since in values:
        kept.add(fact(value=value, since=since))
    return kept


def owners(kept: RunMemory, at: datetime | None = None) -> set[str]:
    return {one.object for one in kept.recall("owner of the mill", at=at, use=False)}


@pytest.mark.parametrize(("value", "now"), [("Bo", {"Bo"}), ("nobody", set())])
def test_what_comes_after_a_contradiction_ends_both_sides_of_it(value, now):
    kept = told(("Ada", MAY), ("Cy", MAY), (value, JUNE))
    assert (owners(kept), owners(kept, MAY)) == (now, {"Ada", "Cy"})
    members = memory()
    for name, since in (("Ada", MAY), ("Cy", MAY), ("nobody", JUNE)):
        members.add(fact(relation="member", value=name, since=since))
    assert [one.object for one in members.recall("member of the mill")] == ["Cy"]  # of several one is named


def test_what_held_once_and_holds_again_is_not_known_already():
    kept = told(("Ada", MAY), ("Bo", JUNE), ("Ada", JULY))
    assert [owners(kept, at) for at in (MAY, JUNE, JULY, None)] == [{"Ada"}, {"Bo"}, {"Ada"}, {"Ada"}]
    before = kept.facts
    assert owners(kept) == {"Ada"}
    assert kept.facts == before  # looked at, and not used
    (used,) = kept.recall("owner of the mill")
    assert kept.facts == [one.used(kept.clock()) if one == used else one for one in before]


def test_an_end_that_is_told_late_ends_nothing_that_began_after_it():
    kept = told(("Ada", MAY), ("Bo", JULY), ("nobody", JUNE))
    assert [owners(kept, at) for at in (MAY, JUNE, JULY, None)] == [{"Ada"}, {"nobody"}, {"Bo"}, {"Bo"}]


def test_an_end_of_which_nobody_knows_when_contradicts_what_is_known():
    kept = told(("Ada", MAY), ("nobody", None))
    assert owners(kept) == {"Ada", "nobody"}
    assert [one.valid_to for one in kept.facts] == [None, None]
    assert len(kept.conflicts) == 1


def test_a_model_cannot_put_a_fact_without_a_date_in_the_place_of_another():
    known, new = [fact(relation="member", key="m1")], fact(relation="member", value="Bo", since=None, key="m2")
    for operation in ("UPDATE", "DELETE"):
        choice = Choosing(Scripted(json.dumps({"operation": operation, "number": 1})))(new, known)
        assert applied(choice, new, known, now=JULY) == ([*known, new], [])


# -- forgetting -------------------------------------------------------------------------------------------------------


def test_retention_falls_with_time_and_grows_with_use():
    one = fact(key="m1")
    later = MAY + timedelta(days=3)
    assert retention(one, later) == pytest.approx(math.exp(-3 / 1))
    used = one.used(MAY).used(MAY)
    assert (used.strength, retention(used, later)) == (3, pytest.approx(math.exp(-3 / 3)))


def test_forgetting_shrinks_the_memory_and_never_what_is_cited_or_pinned():
    kept = memory()
    for at in range(40):
        kept.add(fact(f"mill {at}", value=f"Ada {at}", since=MAY + timedelta(days=at), source=f"e{at}"))
    kept.pin("m3")
    kept.recall("owner of mill 7")
    gone = kept.forget(cited={"e0", "m2"}, most=10)
    left = {one.key for one in kept.facts}
    assert (len(left), len(gone)) == (10, 30)
    assert {"m1", "m2", "m3", "m8"} <= left  # cited by source, by key; pinned; used
    assert {one.key for one in gone} & {"m1", "m2", "m3"} == set()
    assert len(kept.forget(cited={one.source for one in kept.facts}, most=1)) == 0
    kept.pin("m3", pin=False)
    assert "m3" in {one.key for one in kept.forget(cited={one.source for one in kept.facts if one.key != "m3"}, most=1)}


def test_forgetting_takes_the_lowest_retention_first():
    facts = [fact(f"mill {at}", since=MAY + timedelta(days=at), key=f"m{at}") for at in (5, 1, 3)]
    assert [one.key for one in forgotten(facts, most=1, cited=(), now=JULY)[0]] == ["m5"]


def test_of_facts_that_are_alike_what_came_first_is_forgotten_first():
    facts = [fact(f"mill {at}", key=f"m{at}") for at in range(1, 13)]
    assert [one.key for one in forgotten(facts, most=9, cited=(), now=JULY)[1]] == ["m1", "m2", "m3"]
    facts = [fact(key="m1", importance=9), fact(key="m2", importance=2), fact(key="m3", superseded_by="m1")]
    assert [[one.key for one in forgotten(facts, most=most, cited={""}, now=JULY)[0]] for most in (2, 1)] == [
        ["m1", "m2"],
        ["m1"],
    ]


def test_the_other_side_of_a_conflict_stays_with_a_cited_fact():
    kept = memory()
    kept.add(fact(source="e1"))
    kept.add(fact(value="Bo", source="e2"))
    kept.forget(cited={"e2"}, most=0)
    assert [one.object for one in kept.facts] == ["Ada", "Bo"]


def test_the_user_pins_and_deletes():
    kept = memory()
    kept.add(fact(source="e1"))
    kept.add(fact(value="Bo", since=JUNE))
    with pytest.raises(InputError, match="cited by a claim"):
        kept.delete("m1", cited={"e1"})
    kept.delete("m2")
    assert [one.object for one in kept.recall("owner of the mill")] == ["Ada"]  # what it had replaced holds again
    with pytest.raises(InputError, match="no fact 'm9'"):
        kept.pin("m9")
    between = told(("Ada", MAY), ("Cy", JUNE), ("Bo", JULY))
    between.delete("m2")
    assert [owners(between, at) for at in (MAY, JUNE, JULY, None)] == [{"Ada"}, {"Ada"}, {"Bo"}, {"Bo"}]
    apart = told(("Ada", MAY), ("Bo", MAY))
    apart.delete("m2")
    assert apart.conflicts == []
    ended = told(("Ada", MAY), ("nobody", JUNE))
    ended.delete("m2")
    assert owners(ended) == {"Ada"}


# -- the whole --------------------------------------------------------------------------------------------------------


def test_a_memory_survives_being_written_and_read():
    one, other = memory(), memory()
    one.notes = one.notes.asking("who?").with_text("prose", "e1")
    one.add(fact(source="e1"))
    one.add(fact(value="Bo"))
    for _ in range(2):  # what is loaded takes the place of what was there
        other.load_row(json.loads(json.dumps(one.to_row())))
    assert (other.facts, other.notes, other.conflicts) == (one.facts, one.notes, one.conflicts)
    assert other.add(fact("dam")).operation == "ADD"
    assert other.facts[-1].key == "m3"


def test_200_steps_in_a_window_of_4096_tokens():
    """Check 4 of the specification, without an encoder or a model, by words as tokens."""
    noise = [f"Field {at} lay fallow under a sky that nobody looked at for long." for at in range(50)]
    world = World.made(steps=200, noise=noise, seed=3)
    lived = live(world, world.steps, words, None)
    last = live(world, last_messages(world.steps[-20:], words), words, None)
    assert share_right(lived.memory, world.latest()) >= 0.95
    assert share_right(lived.memory, world.history()) >= 0.90
    assert share_right(last.memory, world.latest()) < 0.5
    assert growth(lived) <= 1.05
    assert max(lived.tokens.values()) <= 0.6 * 4096
    assert len(lived.memory.conflicts) == len(world.contradicted)


@pytest.mark.parametrize("wrong", [{"window": 10}, {"full": 1.0}, {"most": 0}])
def test_settings_out_of_range(wrong):
    with pytest.raises(InputError, match="window of 256"):
        MemorySettings(**wrong)


def test_a_fact_is_whole():
    with pytest.raises(InputError, match="subject, relation and object"):
        fact(value=" ")
    with pytest.raises(InputError, match="importance"):
        fact(importance=11)


def test_a_real_grammar_keeps_a_model_to_operations_and_facts(tmp_path):
    """An untrained model writes nonsense: what comes is still an operation that fits, and nothing that no text says."""
    chat = LocalChat(tiny("qwen", tmp_path))
    known = [fact(key="m1"), fact(relation="height", value="12 m", key="m2")]
    new = fact(value="Bo", since=JUNE)
    choice = Choosing(chat)(new, known)
    assert choice.operation in ("ADD", "UPDATE", "DELETE", "NOOP")
    assert choice.target in ("", "m1", "m2")
    found = extracted("A dam fed the mill well.", source="e1", now=JULY, model=chat)
    assert all(one.text == "A dam fed the mill well." for one in found.facts)
