"""The parts of `foveal bench rank-blockrank` on toy sets and a tiny model: what is asked, and what decides."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from honest import HashedWords
from tiny import tiny

from foveal.bench import rank_blockrank_arms as arms_module
from foveal.bench import rank_blockrank_exact as exact_module
from foveal.bench import rank_blockrank_observation as observed
from foveal.bench import rank_blockrank_quality as quality_module
from foveal.bench import rank_blockrank_speed as speed_module
from foveal.bench import rank_blockrank_transfer as transfer_module
from foveal.bench.rank_blockrank_arms import Arm, Arms, Sizes, kept
from foveal.bench.rank_blockrank_data import (
    CHARACTERS,
    DEV,
    TEST,
    TRAIN,
    Task,
    XQuad,
    collection_lists,
    collection_task,
    cut,
    wikiqa_lists,
)
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.metrics import evaluate
from foveal.ranking.blockrank_prompt import Prompter
from foveal.ranking.listwise import RetrievalHeads
from foveal.training.blockrank import DrawnLists

pytest.importorskip("bm25s")

WORDS = [f"word{number}" for number in range(120)]
ARTICLES, PARAGRAPHS = 12, 3
SIZES = Sizes(
    train=6, few=4, more=3, dev=3, test=4, ablated=3, scifact=3, cranfield=4, prefixed=2, wikiqa=4
)  # fmt: skip


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=48)


def said(draw, count):
    return " ".join(draw.choice(WORDS, size=count))


def collection(folder, draw, splits):
    """Each query holds words of its document, and every second one belongs to the last split."""
    (folder / "qrels").mkdir(parents=True)
    texts = [said(draw, 14) for _ in range(20)]
    corpus = [json.dumps({"_id": f"d{n}", "title": "", "text": text}) for n, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{n}", "text": " ".join(texts[n].split()[2:7])}) for n in range(10)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    for place, split in enumerate(splits):
        judged = "".join(f"q{n}\td{n}\t1\n" for n in range(place, 10, len(splits)))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")


def xquad(draw):
    """Articles of paragraphs; the second question of each is answered beyond what is kept."""
    articles = []
    for _ in range(ARTICLES):
        paragraphs = []
        for _ in range(PARAGRAPHS):
            text = said(draw, 90)
            answers = [text.split()[3], text.split()[-1]]
            asked = [
                {
                    "id": f"{len(articles)}-{len(paragraphs)}-{n}",
                    "question": " ".join(text.split()[2 + n : 7 + n]) + "?",
                    "answers": [{"answer_start": text.rindex(answer) if n else text.index(answer), "text": answer}],
                }
                for n, answer in enumerate(answers)
            ]
            paragraphs.append({"context": text, "qas": asked})
        articles.append({"title": f"a{len(articles)}", "paragraphs": paragraphs})
    return {"data": articles}


def wikiqa(draw, split):
    rows = []
    for number in range(5):
        question = said(draw, 5)
        for place in range(4):
            text = f"{question} {said(draw, 3)}" if place == number % 4 else said(draw, 7)
            label = int(place == number % 4 and number < 4)  # the last question has no answer
            rows.append({"qid": f"{split}{number}", "question": question, "doc": text, "label": label})
    return "\n".join(map(json.dumps, rows))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place = tmp_path_factory.mktemp("blockrank")
    draw, data = np.random.default_rng(0), place / "data"
    for name, splits in (("scifact", ("train", "test")), ("cranfield", ("test",))):
        collection(data / name, draw, splits)
    for name in ("xquad", "wikiqa"):
        (data / name).mkdir()
    (data / "xquad" / "xquad.en.json").write_text(json.dumps(xquad(draw)), encoding="utf-8")
    for split in (TRAIN, TEST):
        (data / "wikiqa" / f"{split}.jsonl").write_text(wikiqa(draw, split), encoding="utf-8")
    return Settings(data=data, cache=place / "cache", quick=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("tiny"), positions=16_384)


@pytest.fixture(autouse=True)
def _small(monkeypatch, model):
    """The tiny model everywhere, few lists, and the shallowest layer as the one that is too early."""
    monkeypatch.setattr(arms_module, "load_language_model", lambda *_, **__: model)
    monkeypatch.setattr(exact_module, "load_language_model", lambda *_, **__: model)
    monkeypatch.setattr(Sizes, "of", staticmethod(lambda _: SIZES))
    monkeypatch.setattr(quality_module, "SHALLOW", 0)
    loop = replace(arms_module.LEARNING.loop, batch=2, bfloat16=False)
    monkeypatch.setattr(arms_module, "LEARNING", replace(arms_module.LEARNING, documents=3, loop=loop))


def values(rows):
    return {(row.system, row.metric): row.value for row in rows}


# -- data --------------------------------------------------------------------------------------------------------------


def test_no_document_of_one_part_is_seen_in_another(settings):
    data = XQuad.of(settings)
    seen = {part: {d.id for one in data.lists(part, 99) for d in one.documents} for part in (TRAIN, DEV, TEST)}
    assert not seen[TRAIN] & seen[TEST]
    assert not seen[TRAIN] & seen[DEV]
    assert not seen[DEV] & seen[TEST]
    articles = {part: {name.partition("/")[0] for name in names} for part, names in seen.items()}
    assert [len(articles[part]) for part in (TRAIN, DEV, TEST)] == [7, 2, 3]


def test_a_list_is_the_answer_its_article_and_the_nearest(settings):
    data = XQuad.of(settings)
    for one in data.lists(TRAIN, 99, documents=6):
        (own,) = one.answers
        article = own.partition("/")[0]
        names = [document.id for document in one.documents]
        assert len(names) == len(set(names)) == 6
        assert sum(name.startswith(f"{article}/") for name in names) == PARAGRAPHS
        (text,) = (document.text for document in one.documents if document.id == own)
        assert one.query.rstrip("?") in text
        assert len(text) <= CHARACTERS
        assert one.id.endswith("-0")  # what the other question asks was cut off
    places = [one.positives()[0] for one in data.lists(TRAIN, 99, documents=6)]
    assert len(set(places)) > 2
    assert (
        data.lists(TEST, 3) == XQuad.of(settings).lists(TEST, 3) != XQuad.of(replace(settings, seed=1)).lists(TEST, 3)
    )


def test_texts_are_cut_between_words():
    assert cut("one two", 7) == "one two"
    assert cut("one two three", 7) == "one two"
    assert cut("one two three", 9) == "one two"
    assert cut("unbroken", 3) == "unb"


def test_a_damaged_file_is_named(settings, tmp_path):
    (tmp_path / "xquad").mkdir()
    (tmp_path / "xquad" / "xquad.en.json").write_text('{"data": [{}]}', encoding="utf-8")
    with pytest.raises(InputError, match=r"xquad\.en\.json is no set of questions"):
        XQuad.of(replace(settings, data=tmp_path))


def test_collections_come_as_the_first_stage_found_them(settings):
    task = collection_task(settings, "scifact", queries=3, depth=5)
    assert len(task.asked) == 3
    for one in task.asked:
        assert int(one.id[1:]) % 2 == 1  # a test query
        assert [hit.score for hit in one.hits] == sorted((hit.score for hit in one.hits), reverse=True)
        assert len(one.hits) == 5
    assert evaluate(task.given(), task.qrels, ("ndcg@10",))["ndcg@10"] > 0.9
    lists = collection_lists(settings, "scifact", count=4)
    assert len(lists) == 4
    for listed in lists:
        assert int(listed.id[1:]) % 2 == 0
        assert listed.answers == {f"d{listed.id[1:]}"}
        assert len(listed.documents) > 2


def test_a_mixed_task_has_the_same_candidates_in_no_order(settings):
    task = collection_task(settings, "cranfield", queries=5, depth=6)
    mixed = task.mixed(0)
    assert mixed == task.mixed(0) != task
    assert mixed.given() == task.given()
    assert [one.names for one in mixed.asked] != [one.names for one in task.asked]


def test_no_list_of_another_collection_tells_what_bm25_thinks_of_it(settings, monkeypatch):
    """An ID is a place in the list: in BM25's order a model that favours the first ID would be as good as BM25."""
    ranked = {}

    def run(self, what, task, scores, arm, *, layout=None):
        ranked[task.name] = task
        return {one.id: dict.fromkeys(one.names, 0.0) for one in task.asked}

    monkeypatch.setattr(arms_module.Arms, "run", run)
    monkeypatch.setattr(transfer_module.Trained, "of", classmethod(lambda cls, arms: cls(arms, 1, defaultdict(str))))
    monkeypatch.setattr(transfer_module, "learnt_rows", lambda *_, **__: [])
    trained = transfer_module.Trained.of(arms_module.Arms(settings))
    for part in (transfer_module.cranfield_rows, transfer_module.scifact_rows):
        for row in part(trained, SIZES):
            assert row.metric == "ndcg@10"
    for name in ("cranfield", "scifact"):
        falling = [[hit.score for hit in one.hits] for one in ranked[name].asked]
        assert any(scores != sorted(scores, reverse=True) for scores in falling)


def test_questions_without_an_answer_are_left_out(settings):
    lists = wikiqa_lists(settings, TEST, 99)
    assert [one.id for one in lists] == [f"test{n}" for n in range(4)]
    assert all(len(one.documents) == 4 and len(one.answers) == 1 for one in lists)


def test_a_sentences_place_in_the_file_is_not_seen(tmp_path, settings):
    """Right ones stand first there; an ID is a place in the list, and names break ties."""
    (tmp_path / "wikiqa").mkdir()
    rows = (
        {"qid": f"q{n}", "question": f"asked {n}?", "doc": f"sentence {place} of {n}", "label": int(not place)}
        for n in range(20)
        for place in range(4)
    )
    (tmp_path / "wikiqa" / f"{TEST}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    lists = wikiqa_lists(replace(settings, data=tmp_path), TEST, 99)
    assert {one.positives()[0] for one in lists} == {0, 1, 2, 3}
    assert {name.rpartition("/")[2] for one in lists for name in one.answers} == {"0", "1", "2", "3"}


def test_words_are_counted_over_the_whole_corpus(settings):
    task = XQuad.of(settings).task(TEST, 4, documents=5)
    lexical, dense = task.lexical(), task.dense(settings)
    for one in task.asked:
        assert list(lexical[one.id]) == list(dense[one.id]) == one.names
    for run in (lexical, dense):
        assert evaluate(run, task.qrels, ("precision@1",))["precision@1"] > 0.7  # questions repeat their paragraphs


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_what_was_scored_is_not_scored_again(settings, monkeypatch):
    task = XQuad.of(settings).task(TEST, 4, documents=4)
    seen = []

    def compute(one):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(one.id)
        return [1.0]

    monkeypatch.setattr(arms_module, "EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        kept(settings, "test", {"what": "a"}, task.asked, compute)
    assert kept(settings, "test", {"what": "a"}, task.asked, lambda _: [2.0]) == {
        one.id: [1.0] if one.id in seen else [2.0] for one in task.asked
    }
    other = kept(settings, "test", {"what": "b"}, task.asked, lambda _: [3.0])
    assert set(map(tuple, other.values())) == {(3.0,)}


def test_an_arm_is_trained_once_and_what_made_it_is_its_name(settings, model, monkeypatch):
    lists = tuple(XQuad.of(settings).lists(TRAIN, 4))
    arm = Arm("once", 1, lists)
    made = Arms(settings)
    first = made.model(arm).model.state_dict()
    before = model.model.state_dict()
    changed = {name for name, weight in first.items() if not torch.equal(weight, before[name])}
    assert any(".layers.0." in name for name in changed)
    assert not any(".layers.2." in name for name in changed)
    assert made.seconds(arm) > 0

    def never(*_, **__):
        raise AssertionError("it was trained again")

    monkeypatch.setattr("foveal.training.loop._trainer", never)
    again = Arms(settings).model(arm).model.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in first.items())
    others = [
        replace(arm, layer=0),
        replace(arm, full=True),
        replace(arm, objective="ntp+aux"),
        replace(arm, lists=lists[:3]),
        replace(arm, parent=arm),
        replace(arm, layout=arms_module.KEPT_LAYOUT),
    ]
    digests = {made.digest(one) for one in (arm, *others)}
    assert len(digests) == 1 + len(others)
    assert made.digest(None) not in digests


def test_an_arm_draws_its_lists_anew_each_epoch(settings, monkeypatch):
    asked, drawn = [], DrawnLists.__getitem__
    monkeypatch.setattr(DrawnLists, "__getitem__", lambda rows, place: asked.append(place) or drawn(rows, place))
    twice = replace(arms_module.LEARNING, loop=replace(arms_module.LEARNING.loop, epochs=2))
    monkeypatch.setattr(arms_module, "LEARNING", twice)
    Arms(settings).model(Arm("twice", 1, tuple(XQuad.of(settings).lists(TRAIN, 3))))
    assert (sorted(asked[:3]), sorted(asked[3:])) == ([0, 1, 2], [3, 4, 5])


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.9, 0.2], {"precision@1": 1, "mrr": 1, "area under ROC": 1, "Spearman": math.sqrt(3) / 2}),
        ([0.5, 0.1, 0.2], {"precision@1": 0, "mrr": 1 / 3, "area under ROC": 0, "Spearman": -math.sqrt(3) / 2}),
        ([0.5, 0.4, 0.3], {"precision@1": 0, "mrr": 1 / 2, "area under ROC": 0.5, "Spearman": 0}),
        ([0.4, 0.4, 0.4], {"precision@1": 0, "mrr": 1 / 3, "area under ROC": 0.5, "Spearman": 0}),
    ],
)
def test_how_scores_go_with_relevance(scores, expected):
    found = observed.agreement(np.array(scores), np.array([False, True, False]))
    assert found == pytest.approx(expected)


def test_the_observation_is_of_held_out_training_articles(settings, model):
    rows = list(observed.observation(settings))
    found = values(rows)
    part = XQuad.of(settings).part
    asked = observed.observed_task(settings).asked
    assert {part[int(name.partition("/")[0])] for one in asked for name in one.names} == {DEV}
    shares = [found["attention of documents' tokens", "own document and instruction"]]
    shares.append(found["attention of documents' tokens to documents", "own document"])
    assert all(0 < share < 1 for share in shares)
    layer = observed.chosen_layer(Arms(settings))
    assert found["the chosen layer", "share of the depth"] == pytest.approx((layer + 1) / 3)
    for name in ("blockrank-inside.png", "blockrank-signal.png"):
        assert (settings.cache / "pictures" / name).stat().st_size > 0


def test_what_documents_pay_to_themselves_by_its_definition(settings, model):
    """From the whole attention matrix of transformers."""
    asked = observed.observed_task(settings).asked[0]
    found = observed.inside(model, asked)
    segments = observed.Prompter(model, arms_module.LAYOUT).segments(asked.query, asked.texts, full=True)
    ids = [*segments.instruction, *(token for one in segments.documents for token in one.ids)]
    eager = model.model.config._attn_implementation
    model.model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            weights = model.model(input_ids=torch.tensor([ids]), output_attentions=True).attentions
    finally:
        model.model.set_attn_implementation(eager)
    starts = np.cumsum(segments.lengths).tolist()
    for layer, paid in enumerate(part[0].mean(0) for part in weights):
        seen, own = [], []
        for start, end in pairwise(starts[1:-1]):
            for n in range(observed.ROWS):
                row = paid[start + (end - start) * (2 * n + 1) // (2 * observed.ROWS)]
                inside, before = float(row[start:end].sum()), float(row[: starts[0]].sum())
                seen.append(inside + before)
                own.append(inside / (1 - before))
        assert found["seen"][layer] == pytest.approx(np.mean(seen), abs=1e-5)
        assert found["own"][layer] == pytest.approx(np.mean(own), abs=1e-4)


@pytest.mark.slow
def test_what_is_exact_is_so_and_full_attention_is_not(settings):
    rows = list(exact_module.exact(settings))
    assert [row for row in rows if row.ok is False] == []
    assert sum(row.ok is True for row in rows) == len(rows) - 1 == 11  # a peer's rounding has no bar


@pytest.mark.slow
def test_quality_asks_what_was_promised(settings):
    rows = list(quality_module.quality(settings))
    found = values(rows)
    systems = {system for system, _ in found}
    assert systems >= {
        "BM25",
        "MiniLM",
        "untrained, BlockRank",
        "untrained, full attention",
        "untrained, retrieval heads",
        "untrained, pointwise",
        "BlockRank",
        "BlockRank, decoded",
        "full attention",
        "full attention, sliding window",
        "BlockRank, documents kept",
    }
    before, after = found["untrained, BlockRank", "precision@1"], found["BlockRank", "precision@1"]
    assert found["BlockRank, less untrained, BlockRank", "precision@1"] == pytest.approx(after - before)
    bars = {(row.system, row.metric): row.bar for row in rows if row.bar}
    assert bars["BlockRank, less MiniLM", "ndcg@10"] == "≥ -0.15"  # a quick run asks less
    assert bars["control: queries swapped", "precision@1"] == "≤ 0.4"
    for shallow in ("signal of layer 0", "trained at layer 2"):  # asked though the tiny model's best layer may be it
        assert bars[f"BlockRank, less BlockRank, {shallow}", "precision@1"] == "≥ 0.05"
    again = values(quality_module.quality(settings))
    assert again == found


def test_scores_of_other_heads_are_not_taken_for_those_that_were_kept(model):
    named = [RetrievalHeads(model, heads=heads) for heads in ({1: [0, 2]}, {1: (2, 0)}, {1: [0]}, {2: [0, 2]})]
    first, same, *others = (quality_module.heads_of(one) for one in named)
    assert first == same
    assert len({first, *others}) == 3


def test_full_attention_has_the_layer_that_suits_it(settings, monkeypatch):
    """Chosen on the same held-out lists, by its own signal."""
    said = {observed.BLOCK: 0, observed.FULL: 2}

    def signals(_, task, way):
        return {
            one.id: {
                str(layer): [float((task.qrels[one.id].get(name, 0) > 0) == (layer == said[way])) for name in one.names]
                for layer in range(3)
            }
            for one in task.asked
        }

    monkeypatch.setattr(observed, "signals", signals)
    trained = quality_module.Trained.of(Arms(settings))
    assert (trained.layer, trained["BlockRank"].layer, trained["full attention"].layer) == (0, 0, 2)
    used = []
    monkeypatch.setattr(Arms, "listwise", lambda _, arm, layer, **__: used.append((arm and arm.name, layer)))
    monkeypatch.setattr(Arms, "run", lambda _, what, *__, **___: used.append(what) or {})
    for _ in quality_module._measured(trained, XQuad.of(settings).task(TEST, 2)):
        pass
    assert [one for one in used if one in ((None, 2), ("full", 2))] == [(None, 2), ("full", 2)]
    assert used.count("full attention 2") == 2


def test_bars_of_a_whole_run_are_the_issues(settings):
    task = XQuad.of(settings).task(TEST, 4)
    worse = {one.id: {name: float(name not in task.qrels[one.id]) for name in one.names} for one in task.asked}
    better = {one.id: {name: float(name in task.qrels[one.id]) for name in one.names} for one in task.asked}
    names = {name for pair in PAIRS for name in pair}
    runs = {name: better if name == "BlockRank" else worse for name in names}
    rows = {(row.system, row.metric): row for row in quality_module.compared(runs, task, margin=0.0)}
    assert all(row.ok for row in rows.values() if row.bar)
    assert rows["BlockRank, less untrained, BlockRank", "precision@1"].bar == "≥ 0.25"
    assert rows["BlockRank, less MiniLM", "precision@1"].bar == "≥ -0.02"
    assert rows["BlockRank, less full attention", "precision@1"].bar == "≥ -0.01"
    same = dict.fromkeys(names, better)
    fell = {key for key, row in rows_of(same, task).items() if row.ok is False}
    assert fell == {
        ("BlockRank, less untrained, BlockRank", "precision@1"),
        ("BlockRank, less BM25", "ndcg@10"),
        ("BlockRank, less MiniLM", "ndcg@10"),
        ("BlockRank, less untrained, BlockRank", "ndcg@10"),
        ("BlockRank, less untrained, full attention", "ndcg@10"),
        ("BlockRank, less BlockRank, signal of layer 0", "precision@1"),
        ("BlockRank, less BlockRank, trained at layer 2", "precision@1"),
    }


PAIRS = [
    ("BlockRank", name)
    for name in (
        "untrained, BlockRank",
        "untrained, full attention",
        "MiniLM",
        "BM25",
        "BlockRank, decoded",
        "BlockRank, signal of layer 0",
        "BlockRank, trained at layer 2",
        "full attention",
        "BlockRank, documents kept",
    )
]


def rows_of(runs, task):
    return {(row.system, row.metric): row for row in quality_module.compared(runs, task, margin=0.0)}


def test_a_sliding_window_over_true_scores_finds_the_best(settings):
    one = XQuad.of(settings).task(TEST, 1, documents=9).asked[0]
    told = [0.1, 0.3, 0.2, 0.0, 0.4, 0.6, 0.5, 0.7, 0.9]
    place = {hit.passage.span: score for hit, score in zip(one.hits, told, strict=True)}
    found = quality_module.windowed(lambda _, hits: [place[hit.passage.span] for hit in hits], "?", one.hits)
    assert int(np.argmax(found)) == 8
    assert len(found) == 9


@pytest.mark.slow
def test_ablations_differ_in_one_thing(settings):
    found = values(quality_module.ablations(settings))
    systems = {system for system, metric in found if metric == "mrr@10"}
    assert "ablation: both losses, decode" in systems
    assert "ablation: no completion loss, query right behind, attention" in systems
    assert "ablation: no completion loss, query not before, attention" in systems
    assert (
        "no completion loss, attention, less no completion loss, query not before, attention",
        "precision@1",
    ) in found
    gain = found["both losses, attention, less both losses, decode", "mrr@10"]
    both = found["ablation: both losses, attention", "mrr@10"]
    assert gain == pytest.approx(both - found["ablation: both losses, decode", "mrr@10"])


def test_no_document_is_cut_where_the_query_stands_right_behind(settings, model):
    """Neither of those that are learnt from nor of those that are measured, though these may be longer."""
    task = XQuad.of(settings).task(TEST, 4, documents=5)
    (first, *_) = quality_module.training_lists(settings)
    short = replace(first, documents=tuple(replace(one, text="short") for one in first.documents))
    offset = quality_module.right_behind(Arms(settings), [short], task)
    tight = Prompter(model, replace(arms_module.LAYOUT, query_offset=offset))
    for one in task.asked:
        whole = Prompter(model, arms_module.LAYOUT).segments(one.query, one.texts)
        assert tight.segments(one.query, one.texts).documents == whole.documents


@pytest.mark.slow
def test_other_collections(settings):
    rows = list(transfer_module.transfer(settings))
    found = values(rows)
    assert found["scifact: BM25", "ndcg@10"] > 0.9
    asked = {row.system for row in rows if row.bar}
    assert asked == {
        "cranfield: BlockRank, documents kept, less BM25",
        "cranfield, 2 queries: BlockRank, less BM25",
        "cranfield, 2 queries: BlockRank, trained on SciFact, too, less BM25",
        *(f"scifact: BlockRank, trained on, less {name}" for name in PEERS),
        *(f"wikiqa: BlockRank, trained on, less {name}" for name in PEERS),
    }
    assert {"scifact: untrained, BlockRank", "wikiqa: untrained, BlockRank"} <= {row.system for row in rows}
    assert 0.5 < found["wikiqa: BM25", "map"] <= 1
    less = found["wikiqa: BlockRank, trained on, less BM25", "map"]
    assert less == pytest.approx(found["wikiqa: BlockRank, trained on", "map"] - found["wikiqa: BM25", "map"])


PEERS = ("BM25", "MiniLM", "untrained, BlockRank")


def test_what_is_trained_on_a_set_is_held_against_all_that_was_not(settings):
    task = XQuad.of(settings).task(TEST, 4)
    better, worse = (
        {one.id: {name: float((name in task.qrels[one.id]) == right) for name in one.names} for one in task.asked}
        for right in (True, False)
    )

    def rows(theirs, *, quick=False):
        runs = {"ours": better, **dict.fromkeys(PEERS, theirs)}
        return [row for row in transfer_module.learnt_rows(runs, task, "ours", quick=quick) if row.bar]

    assert [(row.metric, row.ok) for row in rows(worse)] == [("ndcg@10", True)] * 3 + [("precision@1", True)]
    assert [row.system.rpartition("less ")[2] for row in rows(better)] == [*PEERS, PEERS[-1]]
    assert not any(row.ok for row in rows(better))  # as good as untrained, or as a peer, is not enough
    assert rows(worse)[-1].bar == "≥ 0.25"
    assert [row.ok for row in rows(better, quick=True)] == [False, True, True, False]


def test_the_sum_is_of_scaled_scores():
    assert transfer_module.summed({"q": {"a": 2.0, "b": 4.0}}, {"q": {"a": 9.0, "b": 1.0}}) == {
        "q": {"a": 0.5, "b": 0.5}
    }


def test_speed_is_that_of_whole_lists(settings, monkeypatch):
    monkeypatch.setattr(speed_module, "QUICK_SIZES", (2, 4))
    monkeypatch.setattr(speed_module, "QUICK_FULL_SIZES", (2, 4))
    found = values(speed_module.speed(settings))
    assert found["BlockRank, 4 documents", "ms"] > 0
    assert found["full attention, decoded, 4 documents", "ms"] > 0
    # two numbers of keys and one less of values a token and layer, 2 groups of 8 numbers in float32, the layer 2 of 3
    assert found["documents kept", "bytes a token"] == (2 * 2 + 1) * 2 * 8 * 4
    assert (settings.cache / "pictures" / "blockrank-latency.png").stat().st_size > 0


def test_documents_have_just_the_tokens_that_are_said(settings):
    load = speed_module.Load.of(settings)
    hits = load.hits(5, 60)
    ranker = speed_module.BlockRank(load.model, layout=speed_module.Layout(document_tokens=60))
    lengths = ranker.prompter.segments("who?", [hit.passage.text for hit in hits]).lengths
    assert lengths[1:-1] == [60] * 5
    assert len({hit.passage.text for hit in hits}) == 5


@pytest.mark.parametrize("power", [1, 2])
def test_a_line_through_times(power):
    counts = np.array([10, 20, 50, 100])
    slope, fit, _, _ = speed_module.fitted({int(count): 3.0 * count**power for count in counts})
    assert slope == pytest.approx(power)
    assert fit == pytest.approx(np.corrcoef(counts, counts**power)[0, 1] ** 2)
    assert (fit >= 0.98) is (power == 1)


def test_tasks_can_be_shortened(settings):
    task = XQuad.of(settings).task(TEST, 4)
    few = task.first(2)
    assert few.asked == task.asked[:2]
    assert set(few.qrels) == {one.id for one in few.asked}
    assert isinstance(few, Task)
