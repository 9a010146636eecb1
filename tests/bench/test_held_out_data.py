"""Data of other people in the stated layouts: measured, held to what holds for any data, or refused in one line."""

from __future__ import annotations

import gzip
import json
import math
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import islice
from types import SimpleNamespace

import pytest

from foveal.bench import (
    corpusbrain,
    events_data,
    events_stream,
    headlines_data,
    headlines_related,
    heads_act_data,
    layers_lama,
    memory_longheads_heads,
    nn_aaren_tables,
    parts,
    photographs,
    quality,
    rank_legal,
    rank_legal_coliee,
    rank_neural,
    read,
    research_retrieval,
    retrieval_stages,
    segment,
    segment_use,
)
from foveal.bench.known_sets import SIZES, all_held_to, held_to, is_collection_of, is_set
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.segment_learned_data import QUICK, Policies, choi_chosen, choi_documents
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.beir import Collection, Record
from foveal.evaluation.tables import Row


@pytest.fixture
def settings(tmp_path):
    return BenchSettings(data=tmp_path / "data", cache=tmp_path / "cache", quick=True)


def put(settings, name, text, *, packed=False):
    path = settings.data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def lines(settings, name, rows, **options):
    put(settings, name, "".join(f"{json.dumps(row)}\n" for row in rows), **options)


def collection(name="scifact", documents=3, queries=2):
    corpus = {f"d/{at}": Record(f"d/{at}", "", f"text {at}") for at in range(documents)}
    asked = {f"q {at}": f"text {at}" for at in range(queries)}
    return Collection(name, corpus, asked, {query: {"d/0": 1} for query in asked})


# -- bars that are figures of one set ---------------------------------------------------------------------------------


def test_a_figure_of_one_set_is_asked_of_no_other():
    row = Row.of("BM25S", "ndcg@10", 0.2, at_least=0.6843, at_most=0.6883, note="published")
    assert held_to("SciFact", True, row) is row
    other = held_to("SciFact", False, row)
    assert (other.bar, other.ok, other.value) == (None, None, 0.2)
    assert other.note == "no bar here: 0.6843 to 0.6883 is of SciFact; published"
    plain = Row.of("BM25S", "ms", 3)
    assert list(all_held_to("SciFact", False, [plain])) == [plain]


def test_a_set_is_told_by_all_of_its_sizes():
    assert is_set("SciFact", 5183, 300)
    assert not is_set("SciFact", 5183, 301)
    assert is_collection_of("SciFact", collection(documents=5183, queries=300))
    assert not is_collection_of("SciFact", collection())
    assert len(set(SIZES.values())) == len(SIZES)


def test_scifact_s_figures_are_asked_of_scifact(monkeypatch):
    run = {"q 0": {"d/1": 1.0}, "q 1": {"d/1": 1.0}}
    judged = Judged(collection(), collection())
    assert [row.ok for row in judged.rows("BM25S", run)] == [None, None]
    assert [row.ok for row in judged.rows("ours", run, at_least=0.5)] == [False, None]  # beside a peer of the run
    monkeypatch.setitem(SIZES, "SciFact", (3, 2))
    assert [row.ok for row in judged.rows("BM25S", run)] == [False, False]


def test_a_collection_without_figures_is_held_to_its_peers(settings, monkeypatch):
    """Whole texts found, passages not: a search that lost something falls short, whatever the collection is called."""
    good, bad = {"q 0": {"d/0": 1.0}, "q 1": {"d/0": 1.0}}, {"q 0": {"d/1": 1.0}, "q 1": {"d/1": 1.0}}
    runs = SimpleNamespace(lexical=bad, dense=good, run=lambda run: run, hybrid=lambda **_: good)
    monkeypatch.setattr(quality, "bm25s_run", lambda *_, **__: good)
    monkeypatch.setattr(quality, "flat_run", lambda *_: good)
    monkeypatch.setattr(quality, "build", lambda *_: None)
    monkeypatch.setattr(quality, "_found", lambda *_: runs)
    for name in ("scifact", "mine"):
        rows = list(quality._collection(collection(name), settings.data, settings))
        asked = {row.system: row.ok for row in rows if row.bar}
        assert asked == {f"{name}: lexical": False, f"{name}: dense": True, f"{name}: hybrid, weighted": True}
        assert not any("spec" in row.note for row in rows)


def test_collections_of_any_name_are_measured(settings):
    for name in ("zoo", "cranfield", "obliqa", "apes"):
        put(settings, f"{name}/corpus.jsonl", "")
        put(settings, f"{name}/qrels/test.tsv", "")
    assert [folder.name for folder in quality.collections(settings)] == ["cranfield", "apes", "zoo"]
    alone = replace(settings, data=settings.data / "obliqa")
    assert quality.collections(alone) == [alone.data]


def test_other_regulations_have_no_figure_to_meet(settings, monkeypatch):
    law = SimpleNamespace(articles={"1": ""}, queries={"q": ""}, qrels={"q": {"1": 1}})
    monkeypatch.setattr(rank_legal, "_folder", lambda _: None)
    monkeypatch.setattr(rank_legal, "load_obliqa", lambda *_: law)
    monkeypatch.setattr(rank_legal, "only", lambda law, _: law)
    monkeypatch.setattr(rank_legal, "bm25", lambda *_: {"q": {"2": 1.0}})
    assert [row.ok for row in rank_legal.anchor_rows(settings)] == [None, None]
    monkeypatch.setitem(SIZES, "ObliQA", (1, 1))
    assert [row.ok for row in rank_legal.anchor_rows(settings)] == [False, False]


def test_regulations_are_taken_in_the_set_s_own_layout_too(settings):
    rules = [{"ID": name, "DocumentID": 1, "PassageID": name, "Passage": f"Rule {name}."} for name in ("a", "b")]
    asked = [{"QuestionID": "q", "Question": "Which?", "Passages": rules[:1]}]
    put(settings, "obliqa/StructuredRegulatoryDocuments/1.json", json.dumps(rules))
    with pytest.raises(InputError, match="is not ObliQA: it needs"):
        list(rank_legal.anchor_rows(settings))
    put(settings, "obliqa/ObliQA_test.json", json.dumps(asked))
    rows = list(rank_legal.anchor_rows(settings))
    assert [(row.metric, row.ok) for row in rows] == [("recall@10", None), ("map@10", None)]


def test_years_other_than_the_paper_s_are_tested_whole(settings, monkeypatch):
    """Of a test without R02 an empty year was held to R02's figures."""
    (settings.data / "coliee").mkdir(parents=True)
    one = SimpleNamespace(name="BM25")
    test = SimpleNamespace(queries={"R04-1": ""}, judged={"R04-1": {"a": 1}})
    law = SimpleNamespace(test=test, arms=())
    systems = SimpleNamespace(
        words=one, minilm=(), fused=lambda _: {"R04-1": {"a": 1.0}}, alone=lambda _: {"R04-1": {"a": 1.0}},
        trained=lambda _: one, law=law,
    )  # fmt: skip
    monkeypatch.setattr(rank_legal_coliee, "coliee", lambda *_: law)
    monkeypatch.setattr(rank_legal_coliee, "Systems", lambda _: systems)
    for name in ("both_rows", "gain_rows", "difference_rows"):
        monkeypatch.setattr(rank_legal_coliee, name, lambda *_, **__: iter(()))
    rows = list(rank_legal_coliee.coliee_rows(settings))
    assert [(row.system, row.value, row.ok) for row in rows[:2]] == [
        ("COLIEE, all tested years, BM25", 1.0, None), ("COLIEE, all tested years, BM25", 1.0, None),
    ]  # fmt: skip


def test_wikiqa_s_figures_are_not_asked_of_other_questions():
    ranker = SimpleNamespace(system="drmm", dev=0.1, mean=lambda _: 0.1)
    (row,) = rank_neural.together({"drmm": ranker}, known=False)
    assert (row.bar, row.ok) == (None, None)
    assert next(iter(rank_neural.together({"drmm": ranker}))).ok is False


def test_other_recorded_runs_have_no_figure_to_meet():
    class Among:
        runs = (SimpleNamespace(id="1"),)
        recorded = SimpleNamespace(sources=())

        def agent(self, _):
            return {"1": ()}

        def hits(self, _):
            return {"1": 0.0}

        def is_set(self, name):
            return name == self.known

    for known, wanted in (("", {None}), ("HotpotQA, recorded", {None, False})):
        among = Among()
        among.known = known
        rows = list(research_retrieval.anchor_rows(SimpleNamespace(hotpot=among, two_wiki=among)))
        assert {row.ok for row in rows} == wanted


def test_other_texts_in_reuters_place_have_no_figure_to_meet(monkeypatch):
    model = SimpleNamespace(parameters_by_part=lambda: {"pooling": 1})
    arms = SimpleNamespace(
        texts=lambda _: SimpleNamespace(train=["a", "b"], test=["c"]), chosen=lambda _: [SimpleNamespace(name="mean")],
        learnt=lambda *_: model, seeds=(0,), settings=SimpleNamespace(quick=False),
    )  # fmt: skip
    monkeypatch.setattr(layers_lama, "scores_of", lambda *_: {"accuracy": 0.5})
    monkeypatch.setattr(layers_lama, "_outside", lambda *_: iter(()))
    monkeypatch.setattr(layers_lama, "compared", lambda *_, **__: iter(()))
    assert [row.ok for row in layers_lama.accuracy(arms)] == [None] * 4
    monkeypatch.setitem(SIZES, "Reuters-8", (2, 1))
    assert [row.ok for row in layers_lama.accuracy(arms)] == [None, False, None, None]


def test_masses_of_other_paragraphs_have_no_figure_to_meet(settings, monkeypatch):
    row = memory_longheads_heads.mass_row("random", 0.9, "", quick=False)
    monkeypatch.setattr(memory_longheads_heads, "shares", lambda _: iter([row]))
    told = json.dumps({"data": [{"title": "T", "paragraphs": [{"context": "C", "qas": []}]}]})
    put(settings, "xquad/xquad.fr.json", told)
    monkeypatch.setitem(SIZES, "XQuAD", (1,))
    (french,) = memory_longheads_heads.mass_rows(settings)
    assert (french.bar, french.ok, french.value) == (None, None, 0.9)
    put(settings, "xquad/xquad.en.json", told)
    assert [one.ok for one in memory_longheads_heads.mass_rows(settings)] == [False]
    monkeypatch.setitem(SIZES, "XQuAD", (2,))
    assert [one.ok for one in memory_longheads_heads.mass_rows(settings)] == [None]


# -- other names, languages, dates ------------------------------------------------------------------------------------


def test_other_lengths_of_segments_are_cut_and_held_to_what_knows_nothing(settings):
    rows = [{"_id": f"mine/2-4/{at}", "segments": [["a"], ["b", "c"]]} for at in range(1, 4)]
    lines(settings, "choi/choi.jsonl", rows)
    documents = choi_documents(settings)
    assert [one.number for one in choi_chosen(documents)] == [1]  # none is numbered 0
    assert [one.number for one in choi_chosen(documents, 2)] == [2]
    lines(settings, "choi/choi.jsonl", [*rows, {"_id": "choi/3-11/8", "segments": [["a"]]}])
    assert [one.set for one in choi_chosen(choi_documents(settings))] == ["3-11"]
    table = [Row.of(f"Choi: {system}", segment.ERROR, value, note=note) for system, value, note in (
        ("no boundary", 40.0, ""), ("fixed size, 7 units", 30.0, ""), ("even, true number", 5.0, ""),
        ("dynamic programming, penalty 1.2", 31.0, ""), (segment.GUIDED, 30.0, "chosen"), ("depth", 90.0, ""),
    )]  # fmt: skip
    (held,) = (row for row in segment.beside_controls(table) if row.bar)
    assert (held.system, held.bar, held.ok) == (f"Choi: {segment.GUIDED}", "≤ 30", True)
    assert held.note.endswith("; chosen")
    worse = [table[0], replace(table[4], value=41.0)]
    assert [row.ok for row in segment.beside_controls(worse)] == [None, False]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"_id": "one", "segments": [["a"]]}, "its id needs to be set/segment length/number"),
        ({"_id": "a/3-11/0", "segments": [["a"], []]}, "other segments than lists of at least one sentence"),
        ({"_id": "a/3-11/0"}, "lacks _id or segments"),
    ],
)
def test_what_is_no_document_of_choi_s_layout_is_named(settings, row, said):
    lines(settings, "choi/choi.jsonl", [row])
    with pytest.raises(InputError, match=said):
        choi_documents(settings)


def test_a_table_or_language_stands_in_for_one_that_is_not_there(settings):
    with pytest.raises(InputError, match=r"ett lacks ETTh1\.csv"):
        settings.one_of("ett", "ETTh1.csv", "*.csv")
    put(settings, "ett/ETTm2.csv", "", packed=True)
    assert settings.one_of("ett", "ETTh1.csv", "*.csv").name == "ETTm2.csv.gz"
    put(settings, "ett/ETTh2.csv", "")
    assert settings.one_of("ett", "ETTh1.csv", "*.csv").name == "ETTh2.csv"
    put(settings, "ett/ETTh1.csv", "", packed=True)
    assert settings.one_of("ett", "ETTh1.csv", "*.csv").name == "ETTh1.csv.gz"


def test_other_texts_stand_in_the_longest_first(settings):
    put(settings, "text/short.txt", "a")
    with pytest.raises(InputError, match=r"lacks war\.txt"):
        read.texts_of(settings, ("war.txt", "whale.txt"))
    put(settings, "text/long.txt", "a" * 500, packed=True)
    put(settings, "text/longer.txt", "a" * 900)
    found = read.texts_of(settings, ("war.txt", "whale.txt"))
    assert [path.name for path in found] == ["longer.txt", "long.txt"]
    assert [len(read.text_of(path)) for path in found] == [900, 500]
    put(settings, "text/whale.txt", "")
    assert [path.name for path in read.texts_of(settings, ("war.txt", "whale.txt"))] == ["longer.txt", "whale.txt"]


def test_any_number_of_folds_is_learnt_from(settings):
    for fold in (1, 2, 3):
        lines(settings, f"events/so/fold{fold}_test.jsonl", [{"times": [0, fold, 9], "types": [0, 7, 1]}],
              packed=fold == 2)  # fmt: skip
    learnt, test = nn_aaren_tables.event_sets(settings, "so")
    assert ([one.times[1] for one in learnt], [one.times[1] for one in test]) == ([2, 3], [1])
    for fold in (2, 3):
        next((settings.data / "events" / "so").glob(f"fold{fold}*")).unlink()
    with pytest.raises(InputError, match="holds 1 folds"):
        nn_aaren_tables.event_sets(settings, "so")


def test_languages_are_those_that_are_there(settings):
    with pytest.raises(InputError, match="semrel holds no pairs"):
        headlines_data.languages_in(settings)
    for name in ("kin_test.csv", "tel_train.csv", "esp_dev.csv", "tel_test.csv"):
        put(settings, f"semrel/{name}", "sentence1,sentence2,score\nA dog ran,A dog ran,1\nA cat,No idea,much\n",
            packed=name[0] == "t")  # fmt: skip
    assert headlines_data.languages_in(settings) == ["tel", "esp", "kin"]
    with pytest.raises(InputError, match=r"kin_test\.csv, line 3, has the score 'much'"):
        headlines_data.related(settings, "kin")


def test_other_telugu_pairs_are_held_to_no_figure():
    pairs = (("a b c d", "a b c d"), ("a b c d", "e f g h"), ("a b c", "a b x"))
    data = headlines_data.Related("tel", "test", pairs, (0.0, 1.0, 0.5), ())
    assert next(iter(headlines_related.language_rows(data))).bar == "≥ 0"


def test_headlines_of_two_other_labels_are_told_apart(settings):
    put(settings, "classification/clickbait/all.csv", "label,headline\nplain,A\nloud,B\nplain,C\n")
    assert headlines_data.clickbait(settings)[1].tolist() == [1, 0, 1]
    put(settings, "classification/clickbait/all.csv", "label,headline\nplain,A\n")
    with pytest.raises(InputError, match=r"all\.csv has the labels plain; this bench needs two"):
        headlines_data.clickbait(settings)


def test_examples_have_the_labels_that_a_file_has(settings):
    put(settings, "classification/trec/test.csv", "label,text\nWHO,Who ran?\nWHERE,Where is it?\nWHO,Who sat?\n")
    (task,) = (one for one in heads_act_data.TEST if one.name == "trec")
    found = heads_act_data.examples(settings, task, 3)
    assert {one.choices for one in found} == {("WHO", "WHERE")}
    assert {one.choices[one.gold] for one in found if "Who" in one.prompt} == {"WHO"}
    assert found[0].prompt.startswith("Which is it: WHO or WHERE?")
    put(settings, "classification/trec/test.csv", "label,text\nWHO,Who ran?\n")
    with pytest.raises(InputError, match=r"trec/test\.csv has texts of fewer than two labels"):
        heads_act_data.examples(settings, task, 3)
    put(settings, "classification/trec/test.csv", "label,question\nWHO,Who ran?\n")
    with pytest.raises(InputError, match="lacks the column text"):
        heads_act_data.examples(settings, task, 3)


def test_an_article_with_few_answers_is_not_asked_with_options(settings):
    qas = [{"question": f"Q{at}?", "answers": [{"text": f"a{at % 2}"}]} for at in range(6)]
    article = {"title": "T", "paragraphs": [{"context": "C", "qas": qas}]}
    put(settings, "xquad/xquad.fr.json", json.dumps({"data": [article]}))
    assert heads_act_data.words(settings, 4) == ([], [])


def dated_news(settings, first, days):
    asked = {str(at): ("why", first + timedelta(days=at)) for at in range(days)}
    news = object.__new__(events_data.News)
    news.settings, news.items = settings, []
    news.collection = SimpleNamespace(asked=asked, judged=asked)
    return news


def test_news_of_another_time_is_split_by_its_own_days(settings):
    news = dated_news(settings, datetime(1999, 5, 3), 9)
    assert not news.known
    assert news.split_at == datetime(1999, 5, 9)
    assert sum(moment < news.split_at for _, moment in news.collection.asked.values()) == 6
    assert news.begins_at == datetime(1999, 5, 3) - timedelta(days=events_data.WINDOW_DAYS + 1)
    assert dated_news(settings, datetime(1999, 5, 3), 1).split_at == datetime(1999, 5, 3)


def test_newswire_of_another_year_is_looked_at_by_its_own_busiest_day(settings):
    rows = [{"_id": str(at), "title": f"Floods near town {at}", "text": "Rain fell.",
             "published_at": f"1999-05-0{1 + at // 4}T10:00:00+02:00"} for at in range(9)]  # fmt: skip
    lines(settings, "news/reuters21578.jsonl", [*rows, {"_id": "9", "text": "no date", "published_at": None}])
    items = events_stream.load_reuters(settings)
    assert (len(items), items[0].published_at) == (9, datetime(1999, 5, 1, 8))
    known, *busy = events_stream.burst_rows(items)
    assert (known.bar, known.ok) == (None, None)
    assert all("1999-05-01 has 4 items" in row.note for row in busy)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"_id": "1", "title": "T", "text": "x", "published_at": "soon"}, "line 1, is no dated item"),
        ({"_id": "1", "title": "T", "published_at": "1999-05-01"}, "needs _id, title, text, published_at"),
        ({"_id": "1", "title": "T", "text": "x"}, "holds no dated item whose title has 4 words"),
    ],
)
def test_newswire_in_another_layout_is_named(settings, row, said):
    lines(settings, "news/reuters21578.jsonl", [row])
    with pytest.raises(InputError, match=said):
        events_stream.load_reuters(settings)


def test_a_tar_without_photographs_is_named(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "train.tar.gz", "w:gz"):
        pass
    with pytest.raises(InputError, match=r"train\.tar\.gz holds no photograph"):
        photographs.photographs(tmp_path / "train.tar.gz", 10)


def test_articles_that_mention_no_other_are_not_asked_by_mentions(settings):
    texts = [" ".join(f"Word{at} {at * number} stands here on some day." for at in range(30)) for number in (3, 5)]
    lines(settings, "wiki_toy/corpus.jsonl", ({"_id": f"w{at}", "title": f"Name {at}", "text": text} for at, text in
                                              enumerate(texts)))  # fmt: skip
    assert list(corpusbrain.wiki_probes(settings).tests) == ["sentence", "beginning"]


def test_policies_of_other_topics_are_named(settings):
    text = "".join(f"# Part {at}\n\nSome words of it.\n\n" for at in range(4))
    lines(settings, "tos/mine.jsonl", [{"_id": "a", "text": text, "metadata": {"company": "A"}}])
    with pytest.raises(InputError, match="tos holds no document with sections under headings of topics"):
        Policies.of(settings, QUICK, only_topics=True)


def test_stages_take_a_plain_corpus_too(settings, monkeypatch):
    lines(settings, "cranfield/corpus.jsonl", [{"_id": "a", "title": "", "text": "wings"}])
    lines(settings, "cranfield/queries.jsonl", [{"_id": "q", "text": "wings"}])
    put(settings, "cranfield/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\n")
    monkeypatch.setattr(retrieval_stages.Judged, "of", lambda _: SimpleNamespace(test=None))
    monkeypatch.setattr(retrieval_stages, "words_rows", lambda name, found: iter([(name, found)]))
    monkeypatch.setattr(retrieval_stages, "_few", lambda found, _: found)
    _, (name, found) = islice(retrieval_stages.stages(settings), 2)
    assert (name, list(found.corpus)) == ("Cranfield", ["a"])


def test_what_is_judged_to_answer_nothing_is_no_answer(settings):
    """Grade 0 is a judgement too: "looked at, and wrong"."""
    texts = [{"_id": name, "title": "", "text": f"Rule {name}.", "metadata": {"document": 1}} for name in "ab"]
    lines(settings, "obliqa/corpus.jsonl", texts)
    lines(settings, "obliqa/queries.jsonl", [{"_id": "q", "text": "Which?"}, {"_id": "r", "text": "None?"}])
    put(settings, "obliqa/qrels/test.tsv", "query-id\tcorpus-id\tscore\nq\ta\t1\nq\tb\t0\nr\tb\t0\n")
    answers = segment_use.load_answers(settings)
    (document,) = answers.documents
    assert answers.questions == ["Which?"]
    assert [[document.text[one.start : one.end] for one in spans] for spans in answers.spans] == [["Rule a."]]


# -- parts that cannot be run -----------------------------------------------------------------------------------------


def whole(_):
    yield Row.of("ours", "ms", 3)


def lacking(settings):
    settings.folder("zoo", ("corpus.jsonl",))
    yield Row.of("never", "ms", 3)


def test_a_part_whose_data_are_not_there_falls_short_and_the_others_go_on(settings):
    rows = list(parts.each((lacking, whole, lacking), settings))
    assert [(row.system, row.ok) for row in rows] == [("ours", None), ("lacking", False), ("lacking", False)]
    assert rows[1].note.startswith("not run: The data set zoo was not found whole: zoo lacks corpus.jsonl. Name")
    with pytest.raises(InputError, match="zoo was not found whole"):
        list(parts.each((lacking, lacking), settings))
    assert parts.name_of(read.read_longdoc) == "read-longdoc"
    assert math.isfinite(rows[1].value)
