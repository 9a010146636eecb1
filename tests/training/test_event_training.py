"""Event attention trained end to end on a tiny BERT; its losses, batches and negatives by their definitions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foveal.errors import InputError, UnknownName
from foveal.models.event_attention import EventAttentionSettings, EventText
from foveal.training import events
from foveal.training.event_losses import margin_loss, own_negatives, scaled_info_nce
from foveal.training.event_model import EventModel, gathered, looks_of
from foveal.training.event_negatives import event_negatives, mixed
from foveal.training.event_rows import DocumentFacts, EventExamples, EventRows, PastSearch, allowed, collated
from foveal.training.events import EventTrainingSettings, event_loss, late_moment, train_events
from foveal.training.examples import Examples, Rows
from foveal.training.loop import Job, LoopSettings, train
from foveal.training.runs import RunSettings

pytestmark = pytest.mark.usefixtures("undrawn")

DAY = 86_400.0
LOOP = LoopSettings(steps=24, batch=8, learning_rate=5e-3, evaluate_every=12, checkpoint_every=100)
FAST = EventTrainingSettings(
    attention=EventAttentionSettings(heads=2), first=LOOP, second=LOOP, document_tokens=16, depth=2, topics=4
)


def news():
    """Each query says only "f<n>"; which topic is meant, only the event of its day says. Two documents a topic."""
    corpus, queries, judged, asked, events, facts = [], [], [], {}, {}, {}
    for topic in range(6):
        for n in range(2):
            name = f"d{topic}-{n}"
            corpus.append((name, f"b{topic} f{(topic + n) % 12} f{n}"))
            facts[name] = DocumentFacts(
                topic * 10 * DAY + n, f"e{topic}", frozenset({f"name{topic}"}), (f"b{topic}", "f1", "f2")
            )
        for n in range(4):
            query = f"q{topic}-{n}"
            queries.append((query, f"f{(3 * n + topic) % 12} f{n + 4}"))
            judged += [(query, f"d{topic}-{m}", 1) for m in range(2)]
            asked[query] = topic * 10 * DAY + 10 + n
            right = EventText(f"a{topic} b{topic}", 0.1, 3.0, f"e{topic}", 0.8, (f"d{topic}-0",))
            wrong = EventText(f"a{(topic + 1) % 6}", 3.0, 0.0, f"e{(topic + 1) % 6}")
            events[query] = (right, wrong)
    return EventExamples(Examples.gathered(queries, corpus, judged), asked, events, facts)


# -- losses -----------------------------------------------------------------------------------------------------------


def units(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), dim=-1)


def test_the_ranking_loss_is_its_definition():
    queries, candidates = units(3, 5), units(7, 5)
    targets = torch.tensor([0, -1, 4])
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[0, 3] = mask[2, 0] = False
    expected = 0.0
    for row in (0, 2):
        scores = {c: float(torch.exp(20 * queries[row] @ candidates[c])) for c in range(7) if mask[row, c]}
        expected -= np.log(scores[int(targets[row])] / sum(scores.values())) / 2
    assert float(scaled_info_nce(queries, candidates, targets, mask)) == pytest.approx(expected, rel=1e-5)
    assert float(scaled_info_nce(queries, candidates, torch.tensor([-1, -1, -1]))) == 0.0


def test_the_margin_is_its_definition_over_own_negatives():
    queries, candidates, targets = units(2, 5), units(6, 5), torch.tensor([0, 3])
    ok = torch.ones(2, 6, dtype=torch.bool)
    ok[1, 5] = False
    negatives = own_negatives(ok, 3)
    assert negatives.tolist() == [[False, True, True, False, False, False], [False, False, False, False, True, False]]
    rows = []
    for row, own in ((0, (1, 2)), (1, (4,))):
        right = float(queries[row] @ candidates[targets[row]])
        rows.append(np.mean([max(0.0, 0.1 - right + float(queries[row] @ candidates[c])) for c in own]))
    assert float(margin_loss(queries, candidates, targets, negatives)) == pytest.approx(np.mean(rows), rel=1e-5)
    assert own_negatives(torch.ones(2, 2, dtype=torch.bool), 1).tolist() == [[False, True], [True, False]]
    assert float(margin_loss(queries, candidates, targets, torch.zeros_like(negatives))) == 0.0


# -- batches ----------------------------------------------------------------------------------------------------------


def rows_of(data, *pairs):
    return [
        {"query": query, "documents": list(documents), "positive": documents[0], "events": data.events[query]}
        for query, *documents in pairs
    ]


def test_documents_of_the_answers_event_are_no_negatives():
    data = news()
    data = replace(data, facts={**data.facts, "d3-0": replace(data.facts["d3-0"], event="e0")})
    rows = rows_of(data, ("q0-0", "d0-0", "d1-0"), ("q0-1", "d0-1", "d2-0"), ("q2-0", "d2-1", "d3-0"))
    expected = [
        [True, True, False, True, True, False],  # d0-1 answers, d3-0 reports the same event
        [False, True, True, True, True, False],
        [True, True, True, False, True, True],
    ]
    assert allowed(rows, data).tolist() == expected


def test_a_batch_says_who_looks_at_which_event(tiny_encoder):
    data = news()
    model = EventModel.of(tiny_encoder, EventAttentionSettings(heads=2), writer=False, seed=0)
    rows = rows_of(data, ("q0-0", "d0-0"), ("q5-0", "d5-1"))
    rows[1]["events"] = ()
    batch = collated(rows, data, model.tokenise, (8, 8, 8), False)
    assert batch["looks"].tolist() == [[0, 1], [-1, -1]]
    assert batch["right"].tolist() == [0, -1]
    assert batch["facts"][0].flatten().tolist() == pytest.approx([0.1, 3.0, 0.8, 3.0, 0.0, 0.0])
    assert batch["document_ids"].shape[0] == 2
    found = gathered(torch.arange(2 * 3 * 4.0).view(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]]).bool(),
                     batch["looks"], batch["facts"])  # fmt: skip
    assert found.mask.tolist() == [[True, True, False, True, True, True], [False] * 6]
    assert found.facts[0, :, 1].tolist() == pytest.approx([3, 3, 3, 0, 0, 0])
    looks, _ = looks_of([[EventText("x")], []], ["y", "x"])
    assert looks.tolist() == [[1], [-1]]


def test_events_are_left_out_in_a_share_of_the_rows():
    data = news()
    rows = EventRows(data, Rows(data.examples), dropout=0.3, seed=0)
    shares = [bool(rows[place]["events"]) for place in range(40 * len(rows))]
    assert np.mean(shares) == pytest.approx(0.7, abs=0.04)
    assert rows[5] == rows[5]
    assert not any(EventRows(data, Rows(data.examples), dropout=1.0)[place]["events"] for place in range(48))


def test_a_query_sees_the_past_only():
    data = news()
    names = list(data.examples.corpus)
    search = PastSearch.of(data, np.eye(len(names), dtype=np.float32))
    found = search.run(
        {"q0-0": data.asked["q0-0"], "q5-0": data.asked["q5-0"]}, np.ones((2, len(names)), np.float32), 99
    )
    assert set(found["q0-0"]) == {"d0-0", "d0-1"}
    assert len(found["q5-0"]) == 12
    with pytest.raises(InputError, match="has no date"):
        replace(data, asked={})
    early, late = data.split(late_moment(data, 0.25))
    assert max(early.asked[q] for q in early.examples.queries) < min(late.asked[q] for q in late.examples.queries)
    with pytest.raises(InputError, match="left 0 queries before"):
        data.split(-1.0)


def test_other_facts_of_documents_make_another_run():
    """Negatives are chosen by moments, names and events, and a writer learns triples."""
    data = news()
    facts = data.facts["d3-0"]
    told = {data.fingerprint}
    for change in ({"moment": 1.0}, {"event": "e9"}, {"entities": frozenset({"x"})}, {"triple": ("a", "b", "c")}):
        told.add(replace(data, facts={**data.facts, "d3-0": replace(facts, **change)}).fingerprint)
    seen = data.events["q3-0"]
    for other in (replace(seen[0], id="e9"), replace(seen[0], documents=())):
        told.add(replace(data, events={**data.events, "q3-0": (other, *seen[1:])}).fingerprint)
    assert len(told) == 7
    assert news().fingerprint in told


# -- negatives --------------------------------------------------------------------------------------------------------


def test_negatives_are_of_the_kind_they_are_said_to_be():
    data = news()
    facts = dict(data.facts)
    facts["d0-0"] = replace(facts["d0-0"], entities=frozenset({"name3"}))  # an older event with the answer's name
    facts["d2-0"] = replace(facts["d2-0"], moment=29 * DAY)
    data = replace(data, facts=facts)
    only = data.only(["q3-0"])
    names = list(only.examples.corpus)
    vectors = np.eye(len(names), dtype=np.float32)
    query = np.linspace(1, 0.1, len(names), dtype=np.float32)[None]
    topics = [3 if name in ("d3-0", "d3-1", "d1-0", "d5-0") else 0 for name in names]
    found = event_negatives(only, query, vectors, topics)
    asked = only.asked["q3-0"]
    assert found["older"]["q3-0"] == ["d0-0"]
    assert found["type"]["q3-0"] == ["d1-0"]  # of the same topic, not later
    assert found["later"]["q3-0"] == ["d4-0", "d4-1", "d5-0", "d5-1"]
    assert all(facts[name].moment > asked for name in found["later"]["q3-0"])
    assert found["off-topic"]["q3-0"] == ["d2-1", "d2-0"]  # the least near first
    for pools in found.values():
        assert not {"d3-0", "d3-1"} & set(pools["q3-0"])
    guarded = event_negatives(
        only,
        query,
        vectors,
        topics,
        kinds=("later",),
        teacher=lambda pairs: [1.0 if "b4" in text else 0.8 for _, text in pairs],
    )
    assert guarded["later"]["q3-0"] == []  # 0.8 is not below 0.8 less the margin
    lower = event_negatives(only, query, vectors, topics, kinds=("later",), depth=1,
                            teacher=lambda pairs: [0.1 if "b5" in text else 0.9 for _, text in pairs])  # fmt: skip
    assert lower["later"]["q3-0"] == []  # two were looked at, both of b4
    assert sorted(mixed(found, 0, 3)["q3-0"])[:1]
    assert len(mixed(found, 0, 3)["q3-0"]) == 3
    with pytest.raises(UnknownName, match="older, type, later, off-topic"):
        event_negatives(only, query, vectors, topics, kinds=("newer",))
    with pytest.raises(InputError, match="0 vectors for 1 queries"):
        event_negatives(only, query[:0], vectors, topics)


def test_no_document_is_looked_at_behind_the_last_that_is_taken():
    """Of a hundred thousand, each would be asked four times for each query."""
    data = news()

    class Counted(dict):
        asked = 0

        def __getitem__(self, name):
            self.asked += 1
            return super().__getitem__(name)

    names = list(data.examples.corpus)
    only = data.only(["q5-0"])
    facts = Counted({name: replace(data.facts[name], moment=1.0, event=f"of {name}") for name in names})
    query, vectors = np.linspace(1, 0.1, len(names), dtype=np.float32)[None], np.eye(len(names), dtype=np.float32)
    found = event_negatives(replace(only, facts=facts), query, vectors, [0] * len(names), kinds=("type",), depth=2)
    assert found["type"]["q5-0"] == ["d0-0", "d0-1"]
    assert facts.asked < len(names)


def test_a_run_may_go_on_where_bfloat16_is_not_as_fast():
    data = news()
    told = [
        events._identity(replace(FAST, first=replace(LOOP, bfloat16=mixed)), "base", data, None, data, None)
        for mixed in (True, False)
    ]
    assert told[0] == told[1]
    assert told[0] != events._identity(replace(FAST, first=replace(LOOP, steps=9)), "base", data, None, data, None)


# -- training ---------------------------------------------------------------------------------------------------------


def test_every_loss_reaches_what_it_trains(tiny_encoder):
    data = news()
    model = EventModel.of(tiny_encoder, EventAttentionSettings(heads=2), writer=True, seed=0)
    rows = rows_of(data, ("q0-0", "d0-0", "d2-0"), ("q3-0", "d3-0", "d4-0"), ("q5-1", "d5-0", "d1-0"))
    batch = collated(rows, data, model.tokenise, (8, 8, 8), True)
    values = {}
    for name in ("margin", "query_event", "event_document", "writing"):
        only = replace(FAST, **dict.fromkeys(("margin", "query_event", "event_document", "writing"), 0.0))
        with torch.no_grad():
            values[""] = float(event_loss(model, batch, only))
            values[name] = float(event_loss(model, batch, replace(only, **{name: 1.0}))) - values[""]
    assert all(values[name] > 0 for name in ("query_event", "event_document", "writing"))
    event_loss(model, batch, FAST).backward()
    moved = {
        name for name, parameter in model.named_parameters() if parameter.grad is not None and parameter.grad.any()
    }
    for part in ("encoder.", "attention.query", "attention.gate", "attention.age", "writer.decoder.bert.encoder"):
        assert any(name.startswith(part) for name in moved), part


@pytest.mark.slow
def test_it_learns_to_read_the_topic_from_the_event(tiny_encoder, tmp_path):
    """A query's own words say nothing: only with its event can the answer be told."""
    data = news()
    dev = data.only([query for query in data.examples.queries if query.endswith("-3")])
    learnt = data.only([query for query in data.examples.queries if not query.endswith("-3")])
    fitted = []

    def fit(made, questions):
        fitted.append(questions)
        (made / "fusion.json").write_text("fitted before the model is in its place")

    folder, report = train_events(
        learnt, str(tiny_encoder), FAST, fit=fit, run=RunSettings(home=tmp_path, name="mine", dev=dev, test=dev)
    )
    assert fitted == [dev]
    before, after = report.measured["test"]
    assert after["mrr@10"] > before["mrr@10"] + 0.1
    assert folder is not None
    assert {path.name for path in folder.iterdir()} >= {"events.json", "events.safetensors", "encoder", "fusion.json"}
    assert not list((tmp_path / "runs" / "train" / "mine").glob("stage-*/best-*"))
    again, told = train_events(
        learnt, str(tiny_encoder), FAST, run=RunSettings(home=tmp_path, name="mine", dev=dev, test=dev)
    )
    assert (again, told.measured) == (folder, report.measured)  # done: not done again
    with pytest.raises(InputError, match=r"is there already"):
        train_events(
            learnt, str(tiny_encoder), FAST, teacher=lambda pairs: [0.0] * len(pairs), teacher_name="a ranker",
            run=RunSettings(home=tmp_path, name="mine", dev=dev, test=dev),
        )  # fmt: skip
    with pytest.raises(InputError, match=r"another run|is there already"):
        train_events(
            learnt, str(tiny_encoder), replace(FAST, dropout=0.9), run=RunSettings(home=tmp_path, name="mine", dev=dev)
        )


@pytest.mark.slow
def test_a_training_that_was_stopped_gives_the_same_as_one_that_was_not(tiny_encoder, tmp_path):
    data, loop = news(), replace(LOOP, steps=6, evaluate_every=3, checkpoint_every=3)
    settings = replace(FAST, first=loop, second=loop)
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.note.startswith("Stage 2"):
            raise RuntimeError("the machine went away")

    with pytest.raises(RuntimeError, match="went away"):
        train_events(
            data, str(tiny_encoder), settings, run=RunSettings(home=tmp_path / "cut", name="x", on_progress=stop)
        )
    _, resumed = train_events(data, str(tiny_encoder), settings, run=RunSettings(home=tmp_path / "cut", name="x"))
    _, whole = train_events(data, str(tiny_encoder), settings, run=RunSettings(home=tmp_path / "whole", name="x"))
    assert resumed.measured == whole.measured
    assert resumed.curves.metrics == whole.curves.metrics


@pytest.mark.slow
def test_documents_are_projected_where_the_block_is():
    """As it lies on a GPU after training there."""

    def documents(pooled):
        assert pooled.device.type == "meta"
        return torch.zeros(len(pooled), 4)

    attention = SimpleNamespace(age=torch.empty((), device="meta"), documents=documents)
    made = events._projected(SimpleNamespace(attention=attention), np.ones((3, 16), dtype=np.float32))
    assert made.shape == (3, 4)


def test_new_layers_learn_faster(tiny_encoder, tmp_path):
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slow, self.fast = torch.nn.Linear(1, 1, bias=False), torch.nn.Linear(1, 1, bias=False)

    model = Two()
    with torch.no_grad():
        model.slow.weight.fill_(1.0)
        model.fast.weight.fill_(1.0)
    job = Job(
        model=model, rows=[1.0, 2.0, 3.0], loss=lambda m, batch: (m.slow(batch["x"]) + m.fast(batch["x"])).mean(),
        collate=lambda rows: {"x": torch.tensor(rows)[:, None]}, rates={"fast.": 10.0},
    )  # fmt: skip
    train(job, LoopSettings(steps=3, batch=3, learning_rate=1e-3, warm_up=0.0), tmp_path / "run")
    slow, fast = (1 - float(layer.weight.detach()) for layer in (model.slow, model.fast))
    assert slow > 0
    assert fast == pytest.approx(10 * slow, rel=1e-3)


def test_settings_out_of_range_are_refused():
    for wrong in ({"stages": 3}, {"dropout": 1.5}, {"negatives": "soft"}, {"depth": 0}, {"document_tokens": 2}):
        with pytest.raises(InputError):
            EventTrainingSettings(**wrong)
