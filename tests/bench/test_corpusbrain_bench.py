"""`foveal bench generative-corpusbrain` on toy collections, with models of some kilobytes: rows, bars, fairness."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from honest import HashedWords
from reading.speakers import Quoter
from title_models import TINY, TITLES, title_model

from foveal.bench import corpusbrain, corpusbrain_ask, corpusbrain_decoder
from foveal.bench.corpusbrain_decoder import dict_bytes, forced_share, nested, one_by_one, synthetic
from foveal.bench.known_sets import SIZES
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.retrieval import title_trie
from foveal.retrieval.title_trie import TitleTrie
from foveal.settings import Settings as UserSettings
from foveal.training.corpusbrain import naming_model, require_told_apart
from foveal.training.corpusbrain_pairs import TitledCorpus

pytest.importorskip("bm25s")
pytestmark = pytest.mark.usefixtures("undrawn")

STONES = ["Amber", "Basalt", "Chalk", "Dolerite", "Emery", "Flint", "Gneiss", "Halite"]
WORDS = [f"word{n}" for n in range(60)]


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=48)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def article(place, draw, count):
    """Sentences of drawn words; some name the next stone."""
    parts = []
    for n in range(count):
        other = f" near {STONES[(place + 1) % len(STONES)]}" if n % 3 == 1 else ""
        parts.append(f"The {STONES[place].lower()} {' '.join(draw.choice(WORDS, 5))}{other}.")
    return " ".join(parts)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    place, draw = tmp_path_factory.mktemp("generative"), np.random.default_rng(0)
    wiki, scifact, shown = (place / "data" / name for name in ("wiki_toy", "scifact", "r1searcher/hotpotqa"))
    for folder in (wiki, scifact / "qrels", shown):
        folder.mkdir(parents=True)
    stones = [{"_id": str(n), "title": title, "text": article(n, draw, 18)} for n, title in enumerate(STONES)]
    (wiki / "corpus.jsonl").write_text(lines(stones))
    papers = [
        {"_id": f"d{n}", "title": f"On {STONES[n % 8]} and {WORDS[n]}", "text": article(n % 8, draw, 5)}
        for n in range(24)
    ]
    papers[8]["title"] = papers[0]["title"].upper()
    (scifact / "corpus.jsonl").write_text(lines(papers))
    claims = [{"_id": f"q{n}", "text": " ".join(papers[n % 24]["text"].split()[1:6])} for n in range(80)]
    (scifact / "queries.jsonl").write_text(lines(claims))
    for split, rows in (("train", range(70)), ("test", range(70, 80))):
        judged = "".join(f"q{n}\td{n % 24}\t1\n" for n in rows)
        (scifact / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    passages = [{"_id": f"p{n}", "title": title, "text": article(n, draw, 4)} for n, title in enumerate(STONES)]
    (shown / "corpus.jsonl").write_text(lines(passages))
    steps = [{"passages": [f"p{n}" for n in range(8)]}]
    questions = [
        {"_id": f"q{n}", "text": f"what of {STONES[n]}?", "answers": [STONES[n]], "steps": steps} for n in range(4)
    ]
    (shown / "queries.jsonl").write_text(lines([{**questions[0], "_id": "none", "steps": []}, *questions]))
    return Settings(data=place / "data", cache=place / "cache", quick=True)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Tiny models, few steps."""
    monkeypatch.setattr(corpusbrain_ask, "BASE", None)
    monkeypatch.setattr(corpusbrain_ask, "SMALL", TINY)
    monkeypatch.setattr(corpusbrain_ask, "QUICK_STEPS", 1)
    monkeypatch.setattr(corpusbrain, "QUICK_STEPS", {"wiki": 1, "scifact": 1, "labels": 1})
    sizes = {"titles": 10, "first": 8, "queries": 6, "timed": 8, "alone": 2, "synthetic": 2000}
    monkeypatch.setattr(corpusbrain_decoder, "QUICK", sizes)
    monkeypatch.setattr(corpusbrain_decoder, "causal", lambda _: title_model("qwen", tmp_path / "qwen"))
    monkeypatch.setattr(corpusbrain_ask, "load_chat", Quoter)


def by_name(rows):
    return {(row.system, row.metric): row for row in rows}


@pytest.mark.slow
def test_articles_are_asked_for_by_what_no_arm_learned(settings, small, monkeypatch):
    probes = corpusbrain.wiki_probes(settings)
    whole = " ".join(part for text in probes.corpus.texts for part in text.paragraphs)
    for task in ("sentence", "beginning"):
        for pair in probes.tests[task]:
            assert pair.source not in whole
    assert not {pair.source for pair in probes.dev} & {pair.source for pair in probes.tests["sentence"]}
    for pair in probes.tests["mention"]:
        assert pair.titles[0] in pair.source
    assert by_name(corpusbrain.wiki(settings))["wiki_toy, ISS, LPS: sentence", "recall@1"].bar is None
    monkeypatch.setitem(SIZES, "wiki_toy", (len(probes.corpus.titles),))
    rows = by_name(corpusbrain.wiki(settings))
    assert rows["wiki_toy, ISS, LPS: sentence", "recall@1"].bar == "≥ 0.6"
    rises = [row for (_, metric), row in rows.items() if metric.endswith("rise")]
    assert [row.bar for row in rises] == ["≥ 0.0001"] * 3
    for arm in ("BM25", "MiniLM", "titles alone", "ISS", "ISS, LPS", "ISS, LPS, HIP"):
        for task in probes.tests:
            assert 0 <= rows[f"wiki_toy, {arm}: {task}", "recall@1"].value <= 1
    rise = rows["wiki_toy, ISS over titles alone", "recall@1 of sentence, rise"]
    difference = rows["wiki_toy, ISS: sentence", "recall@1"].value
    assert rise.value == difference - rows["wiki_toy, titles alone: sentence", "recall@1"].value


def test_labels_choose_and_test_claims_decide_nothing(settings, small, monkeypatch):
    asked = []

    def tuned(runs, qrels, *, held_out):
        asked.append((set(qrels), set(held_out)))
        return 0.0

    monkeypatch.setattr(corpusbrain, "tuned_weight", tuned)
    rows = by_name(corpusbrain.scifact(settings))
    judged = Judged.of(settings)
    [(dev, held_out)] = asked
    assert len(dev) == 10  # a fifth of 50
    assert dev <= set(judged.train.queries)
    assert held_out == set(judged.test.queries)
    assert rows["small model: beams for all", "largest difference of a score"].ok
    assert rows["small model: beams for all", "titles out of order"].ok
    assert rows["small model: every title by beams", "titles a second"].bar == "≥ 200"
    alone, fused = (rows[f"SciFact claims, {name}", "ndcg@10"].value for name in ("BM25", "50 labels, with BM25"))
    assert fused == alone  # of weight 0
    asked = rows["SciFact claims, 50 labels, with BM25", "ndcg@10"]
    assert asked.bar == f"≥ {alone - 0.05:.4g}"  # the last of all, by the few that there are
    assert asked.ok
    assert rows["small model", "bytes"].value > rows["tree of titles", "bytes"].value > 0


def test_words_and_vectors_stand_beside_what_is_written(settings):
    """Vectors where there is time for 40,000 sentences."""
    probes = corpusbrain.scifact_probes(Judged.of(settings), settings)
    full = by_name(corpusbrain.reference_rows(probes, replace(settings, quick=False)))
    assert {system for system, _ in full} == {"SciFact, BM25: sentence", "SciFact, MiniLM: sentence"}
    pairs = probes.tests["sentence"]
    run = probes.meaning(pairs, "scifact", settings)
    found = [max(scores, key=lambda name: (scores[name], name)) for scores in run.values()]  # ties: the largest id
    first = sum(name in judged for name, judged in zip(found, probes.qrels(pairs).values(), strict=True)) / len(pairs)
    assert full["SciFact, MiniLM: sentence", "recall@1"].value == pytest.approx(first)
    quick = by_name(corpusbrain.reference_rows(probes, settings))
    assert {system for system, _ in quick} == {"SciFact, BM25: sentence"}


def test_the_decoder_is_held_against_the_plain_definition(settings, small):
    rows = by_name(corpusbrain_decoder.decoder(settings))
    for metric in ("largest difference of a score", "titles out of order", "titles lost"):
        assert rows["0.5B: beams for all", metric].ok
    assert rows["0.5B: beams for all", "largest difference of a score"].bar == "≤ 0.001"
    assert rows["0.5B: 10 beams", "first hit is the best of all"].value == 1  # 8 titles
    assert rows["0.5B: every title by beams", "titles a second"].bar == "≥ 60"
    assert rows["0.5B: 10 beams over generate", "queries a second, ratio"].value > 0
    assert rows["tree over nested dicts", "bytes, ratio"].ok
    assert rows["tree over marisa-trie", "bytes, ratio"].value > 1
    assert rows["tree beside marisa-trie", "steps that differ"].ok
    assert rows["marisa-trie", "seconds to build"].value > 0
    assert rows["BM25 over titles", "ndcg@10"].value > 0


def test_a_search_that_loses_a_title_or_shifts_a_score_is_seen(tmp_path, monkeypatch):
    model = title_model("t5", tmp_path)
    search = corpusbrain_decoder.search_titles

    def wrong(*arguments):
        return [[one._replace(score=one.score + 0.01) for one in found[:-1]] for found in search(*arguments)]

    monkeypatch.setattr(corpusbrain_decoder, "search_titles", wrong)
    rows = by_name(corpusbrain_decoder.exact_rows("it", model, TITLES, ["water"]))
    assert not rows["it: beams for all", "largest difference of a score"].ok
    assert not rows["it: beams for all", "titles lost"].ok
    monkeypatch.setattr(corpusbrain_decoder, "search_titles", lambda *a: [found[::-1] for found in search(*a)])
    rows = by_name(corpusbrain_decoder.exact_rows("it", model, TITLES, ["water"]))
    assert not rows["it: beams for all", "titles out of order"].ok


def test_one_by_one_is_one_by_one(tmp_path):
    for kind in ("t5", "qwen"):
        model = title_model(kind, tmp_path / kind)
        ids = model.title_ids(TITLES[:3])
        together = one_by_one(model, "water", ids)
        single = [one_by_one(model, "water", [one])[0] for one in ids]
        np.testing.assert_allclose(together, single, atol=1e-3)


def test_tokens_are_letters_of_a_peer_and_back():
    pytest.importorskip("marisa_trie")
    tokens = [1, 5, 0xD7FF, 0xD800, 0xDFFF, 250_000]
    assert [corpusbrain_decoder.token(corpusbrain_decoder.letter(one)) for one in tokens] == tokens
    "".join(map(corpusbrain_decoder.letter, tokens)).encode()  # none is half of a pair
    sequences = [[9, 0xD800, 1], [9, 0xD800, 7, 1], [8, 1]]
    tree = TitleTrie.of(sequences, 1)
    rows = by_name(corpusbrain_decoder.marisa_rows(sequences, [[], [9], [9, 0xD800], [8], [7]], tree))
    assert rows["tree beside marisa-trie", "steps that differ"].ok


def test_abstracts_whose_titles_minilm_writes_alike_are_told_apart(settings):
    """As SciFact's "Corresponding author:" and "Corresponding Author:"."""
    titles = list(corpusbrain.scifact_probes(Judged.of(settings), settings).corpus.titles.values())
    assert "ON AMBER AND WORD0 (2)" in titles
    require_told_apart(naming_model("minilm", UserSettings.load().cache), titles)


def test_our_beams_and_the_peers_are_timed_alike(tmp_path, monkeypatch):
    """One query a call, as many calls, and no tree is built meanwhile."""
    model = title_model("t5", tmp_path)
    asked = {"ours": [], "generate": []}

    def search(*arguments):
        if arguments[4].beams == 10:
            asked["ours"].append(list(arguments[2]))
        return [[] for _ in arguments[2]]

    monkeypatch.setattr(corpusbrain_decoder, "search_titles", search)
    trees = []
    monkeypatch.setattr(
        corpusbrain_decoder,
        "generated",
        lambda _, tree, query, __: (trees.append(tree), asked["generate"].append([query])),
    )
    queries = ["one", "two", "three", "four", "five"]
    rows = by_name(corpusbrain_decoder.speed_rows("it", model, TITLES, queries, alone=1))
    one_by_one = asked["ours"][1:-1]  # without what warms up, and four at once for the note
    assert asked["generate"] == one_by_one == [["one"], ["two"], ["three"], ["four"], ["one"]]
    assert asked["ours"][-1] == queries[:4]
    assert all(tree is trees[0] for tree in trees)
    assert "4 at once" in rows["it: 10 beams over generate", "queries a second, ratio"].note


def test_arms_learn_for_as_long_and_are_shown_as_they_are(settings, monkeypatch, tmp_path):
    """Titles alone, too; what was no better than before is not replaced by an untrained model."""
    asked, model = [], title_model("t5", tmp_path / "model")

    def train(lessons, base, chosen, *, run, judge):  # no name: a run is called by what it depends on
        asked.append((f"run-{len(asked)}", chosen.loop.steps))
        return None, SimpleNamespace(name=asked[-1][0], curves=SimpleNamespace(steps=9, best_step=0, seconds=1.0))

    loaded = []
    monkeypatch.setattr(corpusbrain, "train_corpusbrain", train)
    monkeypatch.setattr(corpusbrain, "load_title_model", lambda place: (loaded.append(place), model)[1])
    monkeypatch.setattr(corpusbrain.Probes, "found", lambda _, __, pairs: {str(n): {} for n in range(len(pairs))})
    full = replace(settings, quick=False)
    rows = by_name(corpusbrain.wiki(full))
    assert [steps for _, steps in asked] == [corpusbrain.STEPS["wiki"]] * 4
    assert [place.parts[-2:] for place in loaded] == [(name, "rejected") for name, _ in asked]
    assert rows["wiki_toy, titles alone: sentence", "recall@1"].note.endswith("no better on dev pairs")
    place, note = corpusbrain.learned(None, [], full, corpusbrain.small_training(1, full), tmp_path)
    assert place == tmp_path
    assert note.endswith("what it began with")


def test_titles_of_a_peer_are_generated_along_its_dicts(tmp_path):
    for kind in ("t5", "qwen"):
        model = title_model(kind, tmp_path / kind)
        sequences = model.title_ids([*TITLES, "Lyon", "Nice", "Oslo"])
        out = corpusbrain_decoder.generated(model, nested(sequences), "water", max(map(len, sequences)))
        opening = 1 if kind == "t5" else len(model._prompts(["water"])[0])
        allowed = {tuple(one[:-1]) for one in sequences}
        for row in out[:, opening:].tolist():
            assert tuple(row[: row.index(model.end)]) in allowed


def test_the_tree_is_compared_with_all_that_dicts_take():
    sequences = synthetic(500, 0)
    assert len({tuple(one) for one in sequences}) == 500
    assert all(4 <= len(one) <= 13 and one[-1] == 1 and 1 not in one[:-1] for one in sequences)
    tree = nested(sequences)
    assert dict_bytes(tree) > TitleTrie.of(sequences, 1).bytes
    assert title_trie.TitleTrie.of(sequences, 1).nodes == 1 + count(tree)
    assert forced_share(TitleTrie.of([[5, 6, 1], [5, 7, 1]], 1), [[5, 6, 1], [5, 7, 1]]) == pytest.approx(4 / 6)


def count(tree):
    return sum(1 + count(below) for below in tree.values())


def test_both_searches_are_read_by_the_same_reader(settings, small):
    shown = corpusbrain_ask.Shown.of(settings.data / "r1searcher" / "hotpotqa", 4)
    assert list(shown.questions) == ["q0", "q1", "q2", "q3"]  # not the one without a search
    assert len(shown.passages) == 8
    rows = by_name(corpusbrain_ask.asking(settings))
    for name in ("BM25", "CorpusBrain"):
        assert 0 <= rows[f"HotpotQA, {name}", "answer in the first 5"].value <= 1
        assert f"HotpotQA, {name} and a reader" in {system for system, _ in rows}
    assert rows["HotpotQA, BM25", "answer in the first 5"].value == 1
    assert rows["HotpotQA, BM25 and a reader", "answers that hold the gold one"].value >= 0


def test_whole_texts_are_what_words_search(settings):
    probes = corpusbrain.wiki_probes(settings)
    assert isinstance(probes.corpus, TitledCorpus)
    pairs = probes.tests["sentence"]
    assert set(probes.words(pairs)) == set(probes.qrels(pairs)) == {str(n) for n in range(len(pairs))}
    run = probes.meaning(pairs, "toy", settings)
    encoder, texts = settings.encoder(), {one.id: one.paragraphs for one in probes.corpus.texts}
    query = encoder.encode([pairs[0].source])[0]
    best = {name: float((encoder.encode(list(parts)) @ query).max()) for name, parts in texts.items()}
    for name, score in run["0"].items():
        assert score == pytest.approx(best[name], abs=1e-5)


class Elsewhere:
    """A causal model of titles on another device, as on a GPU: it reads nothing that does not lie there."""

    device = torch.device("meta")

    def __init__(self, real):
        self.real, self.end, self.model = real, real.end, self
        self.read = {}

    def collate(self, queries, targets):
        self.read = self.real.collate(queries, targets)
        return dict(self.read)

    def __call__(self, *, input_ids, attention_mask, use_cache):
        assert input_ids.device == attention_mask.device == self.device
        given = {name: self.read[name] for name in ("input_ids", "attention_mask")}
        return self.real.model(**given, use_cache=use_cache)

    def generate(self, *, input_ids, attention_mask, **_):
        assert input_ids.device == attention_mask.device == self.device
        return input_ids.shape


def test_the_plain_definition_and_the_peer_run_where_the_model_lies(tmp_path):
    model = title_model("qwen", tmp_path / "qwen")
    ids = model.title_ids(TITLES[:3])
    far = Elsewhere(model)
    np.testing.assert_array_equal(one_by_one(far, "water", ids), one_by_one(model, "water", ids))
    read = len(model._prompts(["water"])[0])
    assert tuple(corpusbrain_decoder.generated(far, nested(ids), "water", 4)) == (1, read)


def test_models_of_other_code_are_trained_anew(settings, monkeypatch):
    """Both where what is learned of a collection lies, and where an end-to-end run looks for its own."""
    homes = []

    def nothing(*_, run, **__):
        homes.append(run.home)
        raise InputError("nothing is trained here")

    for module in (corpusbrain, corpusbrain_ask):
        monkeypatch.setattr(module, "train_corpusbrain", nothing)
    shown = corpusbrain_ask.Shown.of(settings.data / "r1searcher" / "hotpotqa", 4)
    for digest in ("one", "two"):
        monkeypatch.setattr(corpusbrain_ask, "code_digest", lambda *_, now=digest: now)
        with pytest.raises(InputError, match="nothing is trained"):
            corpusbrain.learned(None, [], settings, corpusbrain.small_training(1, settings))
        with pytest.raises(InputError, match="nothing is trained"):
            corpusbrain_ask.learned_brain(shown, settings)
    assert homes[0] == homes[1] != homes[2] == homes[3]
