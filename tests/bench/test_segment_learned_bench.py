"""`foveal bench segment-learned` on toy policies, with a BERT of one layer: what is asked; tests decide nothing."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from foveal.bench import segment_learned as bench
from foveal.bench import segment_learned_arms, segment_learned_wikiseg
from foveal.bench.segment_learned_arms import Arms
from foveal.bench.segment_learned_data import Policies, Scale, transfers, without_heading_words
from foveal.bench.segment_learned_figures import (
    Figures,
    at_rate,
    decisions,
    depth_scores,
    of_cut,
    tiling_scores,
    untrained,
)
from foveal.bench.segment_learned_words import KINDS, WordColumns, word_head
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.segmentation import same_auc
from foveal.models import load_encoder
from foveal.models.hub import folder_of
from foveal.models.quiet import quiet
from foveal.settings import Settings
from foveal.text.embedding_segmentation import depth_boundaries
from foveal.text.texttiling import TextTiling
from foveal.text.units import words
from foveal.training.same_topic import Read, auc
from foveal.training.same_topic_heads import Paragraphs
from foveal.training.same_topic_pairs import Corpus, Sectioned, adjacent, balanced

ABOUT = {
    "Payment terms": "invoice euro bank transfer due amount late interest",
    "Governing law": "court dublin ireland statute jurisdiction venue claim judge",
    "Cookies": "browser cookie preference device storage visit pixel beacon",
    "Confidentiality": "secret disclose protect recipient knowledge trade information party",
    "Termination": "end cancel notice expiry cease period terminate survive",
    "Refunds": "refund money return goods back purchase days receipt",
}
TINY = Scale(
    test_share=0.35, dev_share=0.35, seeds=2, pairs=24, epochs=1.0, raw_pairs=24, few_pairs=16, budget=200, window=32,
    shuffles=2, transfer=3, speed=40,
)  # fmt: skip


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def policy(rng, number):
    text = [f"# Terms of company {number}\n"]
    for name in rng.permutation(list(ABOUT))[:5]:
        text.append(f"## {name}\n")
        for _ in range(int(rng.integers(3, 5))):
            said = " ".join(rng.choice(ABOUT[name].split(), 8))
            text.append(f"{said.capitalize()} {number}.\n")
    return {
        "_id": f"p{number}",
        "title": f"p{number}",
        "text": "\n".join(text),
        "metadata": {"company": f"c{number // 2}"},
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """MiniLM's tokenizer, and a BERT of one layer."""
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("model") / "tiny"
    shutil.copytree(folder_of("minilm", Settings.load().cache, kind="encoder"), folder)
    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
                        max_position_embeddings=64, initializer_range=0.3)  # fmt: skip
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": False}))
    return str(folder)


@pytest.fixture(scope="module")
def settings(tmp_path_factory, base):
    place = tmp_path_factory.mktemp("bench")
    rng = np.random.default_rng(0)
    lines(place / "data/tos/some.jsonl", [policy(rng, number) for number in range(16)])
    about = [
        [f"Sentence {n} on {topic} and {topic}s, once more." for n in range(4)] for topic in ("cat", "rain", "law")
    ]
    lines(place / "data/choi/choi.jsonl", [{"_id": f"choi-1/3-11/{n}", "segments": about} for n in range(0, 24, 8)])
    articles = [
        f"Article {a} tells of thing {a} at length.\n\n" * 1
        + "\n\n".join(f"Thing {a} is told of, part {n}, in words." for n in range(9))
        for a in range(11)
    ]
    lines(
        place / "data/wiki_toy/corpus.jsonl",
        [{"_id": str(n), "title": "", "text": text} for n, text in enumerate(articles)],
    )
    rules = [
        {
            "_id": f"r{d}-{n}",
            "title": "",
            "text": f"Rule {n} of document {d} asks for thing {n // 4} in writing and in time, of everyone.",
            "metadata": {"document": d, "passage": f"{1 + n // 8}.{1 + n // 4}.{n}"},
        }
        for d in range(2)
        for n in range(24)
    ]
    lines(place / "data/obliqa/corpus.jsonl", rules)
    lines(place / "data/obliqa/queries.jsonl", [{"_id": "q", "text": "Which rule asks for thing 3?"}])
    (place / "data/obliqa/qrels").mkdir()
    (place / "data/obliqa/qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tr0-12\t1\n")

    class Tiny(BenchSettings):
        def encoder(self):
            return load_encoder(base)

    return Tiny(data=place / "data", cache=place / "cache")


@pytest.mark.slow
def test_all_systems_stand_in_one_table_each_with_its_figures(settings, base):
    rows = list(bench.tables(settings, TINY, base=base))
    values = {(row.system, row.metric): row for row in rows}
    systems = {row.system for row in rows}
    for name in ("no boundary", "random, true rate", "even, true number", "TextTiling", "C99", "depth",
                 "cosine of neighbours", "bag of words", "word vectors, mean", "word vectors, mean by idf", "WikiSeg",
                 "WikiSeg, probability above 0.4",
                 "cross", "vectors", "topics", "layout", "bi", "sum of cross, vectors, topics",
                 "majority vote of all heads", "all heads, calibrated"):  # fmt: skip
        assert f"topics: {name}" in systems, name
    assert any(system.startswith("topics: GraphSeg, threshold") for system in systems)
    assert values["topics: cross", "AUC of gaps"].bar.startswith("≥")
    assert values["topics: sum of cross, vectors, topics", "P_k %"].bar.startswith("≤")
    assert values["topics: no boundary", "boundary F1"].value == 0
    assert values["topics: cross", "AUC of gaps"].note.startswith("2 seeds")
    assert values["control: labels shuffled", bench.WITHIN_AUC].bar == "0.48 to 0.52"
    assert values["control: heading words", "AUC lost without"].bar == "-0.02 to 0.02"
    assert values["pairs: consecutive, vectors", "P_k %"].bar
    assert {
        "pairs: section, cross",
        "raw: sum of vectors, topics, layout",
        "transfer to wiki: same-topic, true rate",
    } <= systems
    assert values["raw: test boundaries lost by merging", "size"].value == 0
    assert all(0 <= row.value <= 1 for row in rows if row.metric in ("AUC of gaps", "boundary F1"))
    assert values["topics: vectors", "AUC of gaps"].value > 0.6  # the toy's sections share their words


@pytest.mark.slow
def test_a_second_run_trains_nothing(settings, base, monkeypatch):
    policies = Policies.of(settings, TINY, only_topics=True)
    arms = Arms(policies, TINY, base)
    first = [arms.fine_tuned("cross", 0, pairs=24, epochs=1.0).score(one.paragraphs, 1) for one in arms.test]
    monkeypatch.setattr(segment_learned_arms, "tuned", lambda *_, **__: pytest.fail("it trained"))
    again = [arms.fine_tuned("cross", 0, pairs=24, epochs=1.0).score(one.paragraphs, 1) for one in arms.test]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_heads_of_other_code_are_trained_anew(settings, base, monkeypatch):
    arms = Arms(Policies.of(settings, TINY, only_topics=True), TINY, base)
    head = partial(arms.fine_tuned, "cross", 0, pairs=24, epochs=1.0)
    before = head().path
    assert head().path == before
    monkeypatch.setattr(segment_learned_arms, "code_digest", lambda *_, **__: "other code")
    assert head().path != before


def test_companies_are_apart_and_test_documents_teach_nothing(settings):
    policies = Policies.of(settings, TINY, only_topics=True)
    groups = [{one.group for one in part} for part in (policies.learnt, policies.dev, policies.test)]
    assert all(groups)
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert policies.parts.corpus.texts == tuple(text for one in policies.learnt for text in one.paragraphs)
    shuffled = policies.shuffled(1)
    assert sorted(shuffled.corpus.texts) == sorted(policies.parts.corpus.texts)
    at = shuffled.corpus.texts.index(policies.parts.corpus.texts[0])
    np.testing.assert_array_equal(shuffled.vectors[at], policies.parts.vectors[0])


def test_heading_words_are_taken_out():
    one = Sectioned(
        "a", "a", ("The payment is due; Payments, too.", "Law."), (0, 1), headings=("2. Payment terms", "Law")
    )
    assert without_heading_words(one).paragraphs == ("The is due; Payments, too.", "Law.")


def test_figures_are_means_over_documents():
    documents = [
        Sectioned("a", "a", tuple("abcdef"), (0, 0, 0, 1, 1, 1)),
        Sectioned("b", "b", tuple("abcd"), (0, 0, 1, 1)),
    ]
    held = [Read(one, Paragraphs(one.paragraphs)) for one in documents]
    scores = [np.float32([3, 3, -1, 3, 3]), np.float32([3, -2, 3])]
    perfect = at_rate(scores, held)
    assert (perfect.auc, perfect.pk, perfect.f1, perfect.within) == (1.0, 0.0, 1.0, 1.0)
    none = of_cut(lambda _: [], held)
    assert none.auc is None
    assert none.f1 == 0
    assert none.pk == pytest.approx(100 * np.mean([2 / 4, 2 / 2]))
    said = decisions(lambda one: [3] if one.document.name == "a" else [1], held)
    assert [one.tolist() for one in said] == [[1, 1, 0, 1, 1], [0, 1, 1]]
    # of two boundaries one is cut: below five of the other six gaps, and even with the one that is cut, too
    assert of_cut(lambda _: [], held, said).auc == pytest.approx((5.5 + 2.5) / 12)
    assert of_cut(lambda _: [], held, decisions(lambda _: [], held)).auc == 0.5


def test_bars_are_the_specifications_and_above_what_needs_no_training():
    def of(auc, pk, f1):
        return Figures(auc, pk, 0.0, f1, 0.0)

    plain = {"no boundary": of(0.5, 35.0, 0.0), "TextTiling": of(0.55, 42.0, 0.2), "depth": of(0.6, 40.0, 0.33),
             "GraphSeg, threshold 0.3": of(0.6, 38.0, 0.3), "cosine of neighbours": of(0.63, 46.0, 0.2)}  # fmt: skip
    single, both = bench.single_bars(plain), bench.ensemble_bars(plain, 0.82)
    assert single["AUC of gaps"]["at_least"] == 0.81
    assert 0.33 < single["boundary F1"]["at_least"] < 0.3301
    assert both["AUC of gaps"]["at_least"] == 0.86
    assert both["boundary F1"]["at_least"] == 0.42
    assert both["P_k %"]["at_most"] == 25
    strong = {**plain, "no boundary": of(0.5, 30.0, 0.0), "depth": of(0.9, 20.0, 0.6),
              "cosine of neighbours": of(0.75, 30.0, 0.4)}  # fmt: skip
    assert bench.single_bars(strong)["AUC of gaps"]["at_least"] > 0.9
    other, both_other = bench.single_bars(plain, known=False), bench.ensemble_bars(plain, 0.5, known=False)
    assert other["AUC of gaps"]["at_least"] < single["AUC of gaps"]["at_least"]
    assert both_other["AUC of gaps"]["at_least"] < both["AUC of gaps"]["at_least"]
    assert both_other["P_k %"]["at_most"] == plain["no boundary"].pk
    assert bench.ensemble_bars(strong, 0.95)["AUC of gaps"]["at_least"] > 0.95
    assert bench.ensemble_bars(strong, 0.82)["boundary F1"]["at_least"] > 0.6
    assert bench.ensemble_bars(strong, 0.82)["P_k %"]["at_most"] == 24
    rated = {**plain, "TextTiling, true rate": of(0.85, 40.0, 0.3), "depth, valleys, true rate": of(0.6, 36.0, 0.5)}
    assert bench.single_bars(rated)["AUC of gaps"]["at_least"] > 0.85
    assert bench.ensemble_bars(rated, 0.82)["boundary F1"]["at_least"] > 0.5


def test_what_learnt_from_little_must_still_be_above_what_learnt_nothing():
    plain = {"no boundary": Figures(0.5, 35.0, 0.0, 0.0, 0.0), "TextTiling": Figures(0.63, 42.0, 0.0, 0.41, 0.0),
             "depth": Figures(0.6, 40.0, 0.0, 0.33, 0.0), "GraphSeg, threshold 0.3": Figures(0.6, 38.0, 0.0, 0.3, 0.0),
             "cosine of neighbours": Figures(0.65, 46.0, 0.0, 0.2, 0.0)}  # fmt: skip
    bars = bench.quick_bars(plain)
    assert bars["AUC of gaps"]["at_least"] == 0.65
    assert bars["boundary F1"]["at_least"] == pytest.approx(0.36, abs=1e-5)
    plain["depth, true rate"] = Figures(0.7, 40.0, 0.0, 0.5, 0.0)
    assert bench.quick_bars(plain)["AUC of gaps"]["at_least"] > 0.7


@pytest.mark.parametrize("name", KINDS)
def test_baselines_of_words_learn_words_and_repeat_themselves(base, name):
    texts = [f"{' '.join(ABOUT[name].split()[n : n + 5])} {n}" for name in ABOUT for n in range(3)]
    sections = tuple(at for at in range(len(ABOUT)) for _ in range(3))
    corpus = Corpus.of([Sectioned("a", "a", tuple(texts), sections)], least=1)
    pairs = balanced(adjacent(corpus))
    first, second = (word_head(KINDS[name], corpus, pairs, Path(base), seed=1) for _ in range(2))
    read = Paragraphs(texts)
    odds = first.score(read, 1)
    np.testing.assert_array_equal(odds, second.score(read, 1))
    same = np.diff(sections) == 0
    assert same_auc(odds, same) == 1
    assert first.score(Paragraphs(["invoice euro", "…", "unheard"]), 1).shape == (2,)  # a text without words has a row


def test_wikiseg_learns_where_sections_end_and_nothing_of_what_is_measured(base, monkeypatch):
    monkeypatch.setattr(segment_learned_wikiseg, "EPOCHS", 30)
    monkeypatch.setattr(segment_learned_wikiseg, "RATE", 1e-2)
    rng = np.random.default_rng(0)
    documents = []
    for number in range(6):
        names = rng.permutation(list(ABOUT))[:4]
        texts = [" ".join(rng.choice(ABOUT[name].split(), 5)) for name in names for _ in range(3)]
        documents.append(Sectioned(f"d{number}", f"g{number}", tuple(texts), tuple(at // 3 for at in range(12))))
    corpus = Corpus.of(documents, least=1)
    head = segment_learned_wikiseg.wikiseg_head(corpus, Path(base), seed=0)
    scores = [head.score(Paragraphs(one.paragraphs), 1) for one in documents]
    assert [one.shape for one in scores] == [(11,)] * 6
    same = np.concatenate([one.same for one in documents])
    assert same_auc(np.concatenate(scores), same) > 0.9
    blocked = segment_learned_wikiseg.wikiseg_head(corpus.without(documents), Path(base), seed=0).model
    monkeypatch.setattr(segment_learned_wikiseg, "EPOCHS", 0)
    drawn = segment_learned_wikiseg.wikiseg_head(corpus, Path(base), seed=0).model
    assert not torch.equal(head.model.out.weight, drawn.out.weight)
    torch.testing.assert_close(blocked.state_dict(), drawn.state_dict())  # all paragraphs are measured: it learnt none
    assert head.score(Paragraphs(["invoice euro", "…"]), 1).shape == (1,)


@pytest.mark.parametrize(("counted", "weights"), [
    ("tf-idf", [(1 + math.log(2)) * math.log(4), math.log(2)]), ("mean", [2, 1]),
    ("idf", [2 * math.log(4), math.log(2)]),
])  # fmt: skip
def test_words_count_as_they_are_said_to(counted, weights):
    known = WordColumns.of(["euro", "Euro invoice", "law", "law"])
    columns, found = known.row("Invoice, euro, invoice; an unheard word", counted)
    assert columns == [known.columns["invoice"][0], known.columns["euro"][0]]
    whole = math.hypot(*weights) if counted == "tf-idf" else sum(weights)
    assert found == pytest.approx([one / whole for one in weights])
    assert known.row("unheard", counted) == ([], [])


def test_what_needs_no_training_has_an_auc_too(settings, base):
    arms = Arms(Policies.of(settings, TINY, only_topics=True), TINY, base)
    figures = dict(untrained(arms.test, arms.dev, arms))
    assert figures["no boundary"].auc == 0.5
    assert all(0 <= one.auc <= 1 for one in figures.values())
    assert figures["depth"].auc != 0.5
    for name in ("depth", "TextTiling"):
        assert figures[f"{name}, true rate"].auc == figures[name].auc  # the same scores, cut elsewhere
        assert f"{name}, valleys, true rate" in figures


def test_what_depth_and_texttiling_cut_is_what_they_score_lowest():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(ABOUT[name].split(), 9)) for name in ABOUT for _ in range(12)]
    tiles = TextTiling().boundaries([[text[a:b] for a, b in words(text)] for text in texts])
    vectors = np.repeat(np.eye(6, 8, dtype=np.float32), 12, axis=0) + 0.05 * rng.random((72, 8), dtype=np.float32)
    for cut, score in (
        (tiles, partial(tiling_scores, texts)), (depth_boundaries(vectors), partial(depth_scores, vectors)),
    ):  # fmt: skip
        graded, only = score(only_valleys=False), score(only_valleys=True)
        assert cut
        assert len(graded) == len(only) == 71
        assert (only[np.array(cut) - 1] < 0).all()  # each cut is moved from a valley
        assert (only >= graded).all()
        assert set(np.unique(only)) <= {0, *graded.tolist()}
    lowest = np.argsort(depth_scores(vectors, only_valleys=True))[:5] + 1
    assert set(lowest.tolist()) == {12, 24, 36, 48, 60}
    assert len(tiling_scores(["one"], only_valleys=True)) == 0


@pytest.mark.parametrize("name", ["tos/some.jsonl", "choi/choi.jsonl", "wiki_toy/corpus.jsonl"])
def test_missing_data_is_named_with_the_ways_out(settings, tmp_path, name):
    shutil.copytree(settings.data, tmp_path / "data")
    (tmp_path / "data" / name).unlink()
    poor = replace(settings, data=tmp_path / "data")
    read = partial(Policies.of, only_topics=True) if name.startswith("tos") else transfers
    with pytest.raises(InputError, match="--data or FOVEAL_DATA"):
        read(poor, TINY)


def test_the_bench_ends_with_what_segments_are_worth_to_search(settings, monkeypatch):
    pytest.importorskip("bm25s")
    monkeypatch.setattr(bench, "tables", lambda _: iter(()))
    found = {row.system for row in bench.learned(settings)}
    assert {"regulations: windows of 200 tokens", "regulations: same-topic"} <= found
    assert "regulations: dynamic programming" not in found


def test_within_documents_the_rate_of_boundaries_is_of_no_use():
    few = Sectioned("a", "a", tuple("abcdef"), (0, 0, 0, 0, 0, 1))
    many = Sectioned("b", "b", tuple("abcdef"), (0, 1, 2, 3, 4, 4))
    held = [Read(one, Paragraphs(one.paragraphs)) for one in (few, many)]
    scores = [np.ones(5, np.float32), np.zeros(5, np.float32)]  # knows the document, and no gap
    assert auc(scores, held) > 0.7
    assert bench.within(scores, held) == 0.5
    assert bench.within([np.float32([1, 1, 1, 1, 0]), np.float32([0, 0, 0, 0, 1])], held) == 1.0
