"""CorpusBrain: the pairs by the rules of the authors' code, and a small model that learns a collection by them."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from title_models import TINY, plain_scores
from typer.testing import CliRunner

from foveal.errors import InputError
from foveal.evaluation.kilt import MARKS, KiltQuery
from foveal.library import Library
from foveal.models.title_models import MOST_TOKENS, load_title_model
from foveal.retrieval.constrained_beams import BeamSettings, search_titles
from foveal.retrieval.corpusbrain import CorpusBrain
from foveal.retrieval.title_measures import title_metrics
from foveal.retrieval.title_trie import TitleTrie
from foveal.settings import Settings
from foveal.training.corpusbrain import (
    AlikeBatches,
    CorpusBrainSettings,
    Lessons,
    TitleRows,
    begun,
    train_corpusbrain,
)
from foveal.training.corpusbrain_pairs import (
    PUBLISHED,
    Link,
    PairSettings,
    TitledCorpus,
    TitledText,
    TitlePair,
    hold_out,
    kilt_pairs,
    mention_links,
    pairs_of,
    units,
)
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings
from foveal.training.small_seq2seq import SmallSettings, over_encoder, own_tokenizer

pytestmark = pytest.mark.usefixtures("undrawn")
TITLES = {"a": "Amber", "b": "Basalt", "c": "Chalk"}


def text_of(paragraphs, *links, title="Amber", name="a"):
    return TitledText(name, title, tuple(paragraphs), tuple(Link(*link) for link in links))


def drawn(text, settings=None, seed=0):
    return pairs_of(text, TITLES, settings or PairSettings(), np.random.default_rng(seed))


def sources(pairs, task):
    return [pair.source for pair in pairs if pair.task == task]


# -- pairs -----------------------------------------------------------------------------------------------------------


def test_inner_units_are_the_first_and_eleven_drawn_ones():
    text = text_of([f"unit {n}" for n in range(30)])
    found = sources(drawn(text), "ISS")
    assert len(found) == len(set(found)) == 12
    assert found[0] == "unit 0"
    assert set(found) <= set(text.paragraphs)
    assert found != sources(drawn(text, seed=1), "ISS")
    assert sources(drawn(text_of(["x", "y"])), "ISS") == ["x", "y"]


def test_leading_passages_are_three_joins_of_three_units_from_the_true_beginning():
    text = text_of([f"u{n}" for n in range(11)])
    assert sources(drawn(text), "LPS") == ["u0 u1 u2", "u3 u4 u5", "u6 u7 u8"]
    assert sources(drawn(text_of(["u0", "u1", "u2", "u3"]), PairSettings(tasks=("LPS",))), "LPS") == ["u0 u1 u2", "u3"]


def test_a_source_stands_once():
    pairs = drawn(text_of(["one unit"]))
    assert [(pair.source, pair.task) for pair in pairs] == [("one unit", "ISS")]  # the join of one is the same


def test_markers_and_short_units_are_no_sources():
    text = text_of(["SECTION::::Origin.", "one two three four five six seven eight nine ten", "eleven " * 11])
    settings = replace(PUBLISHED, tasks=("ISS",))
    assert sources(drawn(text, settings), "ISS") == ["eleven " * 11]
    assert len(sources(drawn(text, PairSettings(tasks=("ISS",))), "ISS")) == 2


def test_a_link_asks_for_its_target_by_what_stands_around_it():
    text = text_of(["u0", "left", "BULLET::::x", "here", "right", "u5"], (3, "b"))
    found = [pair for pair in drawn(text) if pair.task == "HIP"]
    assert [(pair.source, pair.titles) for pair in found] == [("left here right", ("Basalt",))]


def test_links_at_the_edges_in_markers_or_twice_ask_for_nothing():
    paragraphs = ["u0", "u1", "BULLET::::u2", "u3", "u4"]
    text = text_of(paragraphs, (0, "b"), (4, "b"), (2, "b"), (1, "c"), (1, "c"))
    assert [pair.titles for pair in drawn(text) if pair.task == "HIP"] == [("Chalk",)]


def test_three_links_are_drawn_each_once():
    text = text_of([f"u{n}" for n in range(12)], *((n, "b") for n in range(1, 11)))
    found = sources(drawn(text), "HIP")
    assert len(found) == len(set(found)) == 3


def test_how_many_titles_stand_behind_the_own_one_is_as_published():
    text = text_of([f"u{n}" for n in range(13)], (5, "b"), (6, "c"))
    titles = {**TITLES, "d": "Dolerite", "e": "Emery"}
    text = replace(text, links=tuple(Link(5, name) for name in "bcde"))
    counts: Counter[int] = Counter()
    for seed in range(400):
        pairs = pairs_of(text, titles, PairSettings(tasks=("ISS",)), np.random.default_rng(seed))
        for pair in pairs:
            assert pair.titles[0] == "Amber"
            assert len(set(pair.titles)) == len(pair.titles)
            counts[len(pair.titles) - 1] += 1
    shares = [counts[n] / counts.total() for n in range(5)]
    assert shares == pytest.approx([0.70, 0.20, 0.05, 0.03, 0.02], abs=0.02)


def test_a_corpus_leaves_out_short_documents_and_links_that_lead_nowhere():
    long = ["word " * 130]
    texts = [
        text_of(long, (0, "b"), (0, "gone"), (0, "a")),
        text_of(long, title="Basalt", name="b"),
        text_of(["few words"], title="Chalk", name="c"),
        text_of(long, title="Tin", name="t"),
    ]
    corpus = TitledCorpus.of(texts, PUBLISHED)
    assert [one.id for one in corpus.texts] == ["a", "b"]
    assert (corpus.short, corpus.dropped_links) == (2, 2)
    assert corpus.texts[0].links == (Link(0, "b"),)
    assert len(TitledCorpus.of(texts).texts) == 4


def test_pairs_are_those_of_the_seed_and_the_pass():
    corpus = TitledCorpus.of([text_of([f"u{n}" for n in range(30)])])
    settings = PairSettings()
    assert corpus.pairs(settings, 1) == corpus.pairs(settings, 1)
    assert corpus.pairs(settings, 1) != corpus.pairs(settings, 2)
    assert corpus.pairs(settings, 1) != corpus.pairs(replace(settings, seed=1), 1)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "nothing to learn"),
        ([text_of([" "])], "nothing to learn"),
        ([text_of(["x"]), text_of(["y"], title="Basalt")], "the id 'a'"),
        ([text_of(["x"]), text_of(["y"], name="b")], "the title 'Amber'"),
    ],
)
def test_collections_that_cannot_be_learned_are_refused(texts, says):
    with pytest.raises(InputError, match=says):
        TitledCorpus.of(texts)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"tasks": ("XYZ",)}, "tasks"), ({"inner": 0}, "at least 1"), ({"extra": (0.5, 0.1)}, "sum to 1")],
)
def test_settings_of_no_pairs_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        PairSettings(**wrong)


def test_mentions_of_other_titles_become_links():
    texts = [
        text_of(["Basalt is dark", "basalts and Basaltic rocks", "of Chalk Age, not Chalk"]),
        text_of(["Basalt alone"], title="Basalt", name="b"),
        text_of(["x"], title="Chalk", name="c"),
        text_of(["y"], title="Chalk Age", name="d"),
    ]
    linked = mention_links(texts)
    assert set(linked[0].links) == {Link(0, "b"), Link(2, "d"), Link(2, "c")}
    assert [one.links for one in linked[1:]] == [(), (), ()]


def mentions_by_definition(titles: list[str], text: str) -> list[str]:
    """The longest title at each place where none of its ends is within a word, from left to right."""
    by_length = "|".join(map(re.escape, sorted(titles, key=len, reverse=True)))
    return [match[0] for match in re.finditer(rf"(?<!\w)(?:{by_length})(?!\w)", text)]


@given(st.sets(st.text("aé b.", min_size=1, max_size=5), min_size=1, max_size=12), st.text("aé b.", max_size=40))
def test_mentions_are_those_of_the_definition(titles, text):
    titles = sorted(titles)
    texts = [text_of(["-"], title=title, name=str(number)) for number, title in enumerate(titles)]
    found = mention_links([text_of([text], title="(none of them)", name="t"), *texts], least=1)[0].links
    expected = dict.fromkeys(str(titles.index(title)) for title in mentions_by_definition(titles, text))
    assert [link.target for link in found] == list(expected)


def test_what_is_held_out_is_in_no_text_and_links_move_along():
    texts = [text_of([f"w{n} " * 8 for n in range(6)] + ["w3 " * 8], (1, "b"), (5, "c"))]
    for seed in range(8):
        kept, held = hold_out(texts, each=2, seed=seed)
        gone = {pair.source for pair in held}
        assert len(held) == 2
        assert not gone & set(kept[0].paragraphs)
        for link in kept[0].links:
            before = 1 if link.target == "b" else 5
            assert kept[0].paragraphs[link.paragraph] == texts[0].paragraphs[before]
    with pytest.raises(InputError, match="nothing can be held out"):
        hold_out([text_of(["short", "shorter"])])


def test_a_sentence_can_be_held_out_where_no_space_parts_words():
    units = ["视网膜是眼睛后部的一层组织。", "它把光变成神经信号,送到大脑。", "短句。"]
    kept, held = hold_out([text_of(units)])
    assert [pair.source in units[:2] for pair in held] == [True]
    assert len(kept[0].paragraphs) == 2


def test_a_text_of_repeated_units_keeps_two_and_asks_each_once():
    refrain, verse = "the sea the sea the wide blue sea", "a ship goes out by night and comes not back"
    for seed in range(8):
        kept, held = hold_out([text_of([refrain, refrain, refrain, verse])], each=2, seed=seed)
        assert [pair.source for pair in held] == [verse]
        assert kept[0].paragraphs == (refrain,) * 3
        kept, held = hold_out([text_of([refrain, refrain, verse, "of the town", "of the land"])], each=2, seed=seed)
        assert {pair.source for pair in held} == {refrain, verse}
        assert len(held) == len(kept[0].paragraphs) == 2


def test_kilts_queries_ask_for_their_targets(caplog):
    """Template questions of relations are sources beside the input; titles of other collections are left out."""
    queries = [
        KiltQuery("1", "Butt [SEP] led", (), (), ("Home  Rule", "Elsewhere", "Isaac Butt"), ("Who led?", " ")),
        KiltQuery("2", "no answer", ()),
        KiltQuery("3", "of another collection", (), targets=("Elsewhere",)),
    ]  # fmt: skip
    titles = ["Isaac Butt", "Home Rule"]
    found = kilt_pairs(queries, titles)
    assert [(one.source, one.titles) for one in found] == [
        ("Butt [SEP] led", ("Home Rule", "Isaac Butt")),
        ("Who led?", ("Home Rule", "Isaac Butt")),
    ]
    assert "2 of 3 queries ask for no title of this collection" in caplog.text
    assert len(Lessons.of_pairs(found, titles).draw(0)) == 2
    with pytest.raises(InputError, match="None of 2 queries asks for a title"):
        kilt_pairs(queries[1:], titles)


def test_units_are_cut_and_cleaned():
    assert units("One  two.\nThree.", lambda text: [(0, 10), (10, len(text))]) == ("One two.", "Three.")


# -- a model that learns ---------------------------------------------------------------------------------------------

WORDS = ("red", "blue", "round", "flat", "warm", "cold", "loud", "still")
FILLERS = ("of", "to", "in", "on", "by", "at", "as", "up")
LOOP = LoopSettings(epochs=25, batch=16, learning_rate=0.01, warm_up=0.05, evaluate_every=60, seed=0)
FAST = CorpusBrainSettings(
    max_query=24, small=SmallSettings(vocabulary=330, width=32, inner=64, heads=2, encoder_layers=1, decoder_layers=1),
    loop=LOOP,
)  # fmt: skip


def stones(count=8):
    """Each text has two words of its own; sentences of it have one or the other."""
    made = []
    for n in range(count):
        own = [f"{WORDS[n]} stone{n}", f"{WORDS[n]} sand{n}"]
        lines = [f"it is {own[m % 2]} and {filler} today" for m, filler in enumerate(FILLERS)]
        made.append(TitledText(f"d{n}", f"Stone number {n}", tuple(lines)))
    return made


@pytest.fixture(scope="module")
def collection():
    kept, dev = hold_out(stones(), each=1, least_words=3)
    return TitledCorpus.of(kept), dev


def trained(collection, home, settings=FAST, base=None, lessons=None, **run):
    corpus, dev = collection
    lessons = lessons or Lessons.of_corpus(corpus)
    return train_corpusbrain(lessons, base, settings, judge=title_metrics, run=RunSettings(home=home, dev=dev, **run))


def test_a_small_model_learns_a_collection_and_is_searched(collection, tmp_path):
    corpus, dev = collection
    folder, report = trained(collection, tmp_path, name="stones", test=dev[:4])
    before, after = report.measured["dev"]
    assert report.kept
    assert folder == tmp_path / "models" / "stones"
    assert after["r-precision"] >= before["r-precision"] + 0.5
    assert set(report.measured["test"][1]) == {"r-precision", "recall@10"}
    model = load_title_model(folder, cache=tmp_path)
    assert model.max_query == 24
    brain = CorpusBrain.of(model, corpus.titles)
    hits = brain.retrieve([pair.source for pair in dev], k=1)
    assert np.mean([hit[0].title == pair.titles[0] for hit, pair in zip(hits, dev, strict=True)]) == pytest.approx(
        after["r-precision"]
    )
    again = trained(collection, tmp_path, name="stones", test=dev[:4], on_progress=lambda _: pytest.fail("it trained"))
    assert again == (folder, report)
    with pytest.raises(InputError, match=r"another name|of another run"):
        trained(collection, tmp_path, replace(FAST, smoothing=0.0), name="stones")
    tuned, _ = trained(
        collection, tmp_path, replace(FAST, loop=replace(LOOP, steps=2, evaluate_every=1, learning_rate=1e-9)),
        base=str(folder), name="tuned", lessons=Lessons.of_pairs(dev, list(corpus.titles.values())),
    )  # fmt: skip
    assert tuned is None  # no better than what it began with
    rejected = json.loads((tmp_path / "runs" / "train" / "tuned" / "rejected" / "corpusbrain.json").read_text())
    assert rejected["titles"] == list(corpus.titles.values())
    assert rejected["documents"] == corpus.titles  # of the base, which learned them


@pytest.mark.slow
def test_a_decoder_learns_over_an_encoder(tiny_encoder, tmp_path):
    texts = [
        TitledText(f"d{t}", f"b{t} f{t}", tuple(f"a{t} f{(t + n) % 12} f{(3 * n) % 12} f{n % 12}" for n in range(9)))
        for t in range(8)
    ]
    kept, dev = hold_out(texts, least_words=3)
    learnable = TitledCorpus.of(kept), dev
    begins = over_encoder(tiny_encoder, TINY, max_query=24, seed=0).model.encoder.state_dict()

    def changed(folder):
        now = load_title_model(folder, cache=tmp_path).model.encoder.state_dict()
        return any(not torch.equal(weight, begins[name]) for name, weight in now.items())

    folder, report = trained(learnable, tmp_path, base=str(tiny_encoder), name="over")
    assert report.measured["dev"][1]["r-precision"] > report.measured["dev"][0]["r-precision"] + 0.3
    assert changed(folder)
    model, titles = load_title_model(folder, cache=tmp_path), list(learnable[0].titles.values())
    trie = TitleTrie.of(model.title_ids(titles), model.end)
    [found] = search_titles(model, trie, [dev[0].source], 8, BeamSettings(beams=8))
    scores = plain_scores(model, dev[0].source, titles) / 4  # [CLS], two words, [SEP]
    np.testing.assert_allclose([one.score for one in found], sorted(scores, reverse=True), atol=1e-4)
    frozen = replace(FAST, frozen_encoder=True, loop=replace(LOOP, steps=2, evaluate_every=2))
    kept_folder, report = trained(learnable, tmp_path, frozen, base=str(tiny_encoder), name="frozen")
    assert not changed(kept_folder or tmp_path / "runs" / "train" / "frozen" / "rejected")
    with pytest.raises(InputError, match=r"another name|of another run"):
        trained(learnable, tmp_path, frozen, name="frozen")  # a checkpoint of another base


class Stopped(Exception):
    """What ends a training in its midst."""


def test_a_killed_training_goes_on_as_if_it_had_not_been(collection, tmp_path):
    short = replace(FAST, loop=replace(LOOP, steps=12, evaluate_every=4, checkpoint_every=4))

    def stop(progress):
        if progress.step == 9:
            raise Stopped

    with pytest.raises(Stopped):
        trained(collection, tmp_path / "killed", short, name="m", on_progress=stop)
    _, resumed = trained(collection, tmp_path / "killed", short, name="m")
    _, whole = trained(collection, tmp_path / "whole", short, name="m")
    assert resumed.curves.resumed_at == 8
    assert resumed.curves.metrics == whole.curves.metrics
    assert dict(resumed.curves.losses)[12] == pytest.approx(dict(whole.curves.losses)[12], abs=1e-6)


def test_batches_hold_each_row_once_and_rows_of_a_length(collection):
    corpus, _ = collection
    lessons = Lessons.of_corpus(corpus)
    rows = TitleRows(lessons, begun(lessons, None, replace(FAST, small=TINY)))
    plan = AlikeBatches(rows, 8, seed=0)
    for epoch in (0, 1):
        places = [place for batch in plan(epoch) for place in batch]
        assert sorted(places) == list(range(epoch * len(rows), (epoch + 1) * len(rows)))
    assert [rows[place][0] for place in plan(0)[0]] != [rows[place][0] for place in plan(1)[0]]
    source, target = rows[len(rows)]
    assert target[-1] == rows.model.end
    assert source in {pair.source for pair in lessons.draw(1)}


def test_batches_have_little_padding_on_either_side():
    draw = np.random.default_rng(0)
    lengths = draw.integers(10, 200, (640, 2)).tolist()

    class Rows:
        def drawn(self, _):
            return [("x" * source, [5] * target) for source, target in lengths]

        def __len__(self):
            return len(lengths)

    def padding(batches, side):
        longest = sum(len(batch) * max(lengths[place][side] for place in batch) for batch in batches)
        return longest - sum(one[side] for one in lengths)

    batches = AlikeBatches(Rows(), 16, seed=0)(0)
    assert sorted(place for batch in batches for place in batch) == [*range(640)]
    plain = [range(at, at + 16) for at in range(0, 640, 16)]
    for side in (0, 1):
        assert padding(batches, side) < 0.5 * padding(plain, side)


def test_titles_behind_the_own_one_are_as_many_as_a_model_can_write(collection):
    corpus, _ = collection
    lessons = Lessons.of_corpus(corpus)
    model = begun(lessons, None, replace(FAST, small=TINY))
    titles = [f"{n} {'stone and sand ' * 18}" for n in range(5)]
    sizes = [len(ids) - 1 for ids in model.title_ids(titles)]
    pairs = [TitlePair("x", tuple(titles))]
    target = TitleRows(Lessons.of_pairs(pairs, titles), model)[0][1]
    assert 1 < target.count(model.separator[0]) + 1 < 5
    assert len(target) <= 2 * MOST_TOKENS < sum(sizes)


def test_an_answer_of_two_titles_has_the_tokens_of_both(collection):
    corpus, _ = collection
    lessons = Lessons.of_corpus(corpus)
    model = begun(lessons, None, replace(FAST, small=TINY))
    first, second = (model.title_ids([title])[0] for title in ("Stone number 1", "Stone number 2"))
    assert len(model.separator) == 1
    expected = [*first[:-1], *model.separator, *second[:-1], model.end]
    assert model.target(["Stone number 1", "Stone number 2"]) == expected
    pairs = [TitlePair("x", ("Stone number 1", "Stone number 2"))]
    assert TitleRows(Lessons.of_pairs(pairs, list(corpus.titles.values())), model)[0][1] == expected


def test_a_vocabulary_is_learned_with_the_marks():
    tokenizer = own_tokenizer(["the stone and the sand"] * 9, 300)
    ids = tokenizer(f"{MARKS[0]} stone {MARKS[1]} ☃")["input_ids"]
    assert ids[0] == tokenizer.convert_tokens_to_ids(MARKS[0])
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.unk_token_id not in ids  # a byte has always a token
    with pytest.raises(InputError, match="from no text"):
        own_tokenizer(["", " "], 300)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: CorpusBrainSettings(smoothing=1.0), "smoothing"),
        (lambda: CorpusBrainSettings(max_query=2), "max_query = 2"),
        (lambda: SmallSettings(vocabulary=100), "vocabulary"),
        (lambda: SmallSettings(width=30, heads=4), "heads divide"),
        (lambda: TitlePair(" ", ("A",)), "needs both"),
        (lambda: Lessons.of_pairs([], ["A"]), "no pairs"),
        (lambda: Lessons.of_pairs([TitlePair("x", ("B",))], ["A"]), "'B', which no document has"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_training_needs_dev_pairs(collection, tmp_path):
    with pytest.raises(InputError, match="no dev pairs"):
        trained((collection[0], []), tmp_path)


def test_the_command_learns_a_folder_and_its_judged_queries(tmp_path):
    import typer

    from foveal.cli.train_corpusbrain import corpusbrain

    app = typer.Typer()
    app.command()(corpusbrain)
    folder = tmp_path / "stones"
    (folder / "qrels").mkdir(parents=True)
    texts = stones()
    whole = {one.id: ". ".join(map(str.capitalize, one.paragraphs)) for one in texts}
    lines = [{"_id": one.id, "title": one.title, "text": whole[one.id]} for one in texts]
    queries = [{"_id": f"q{n}", "text": f"{WORDS[n]} stone{n}"} for n in range(8)]
    for name, rows in (("corpus", lines), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(8))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    arguments = ["--data", folder, "--split", "train", "--steps", 2, "--name", "mine", "--json"]
    arguments += ["--home", tmp_path / "h"]
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["name"] == "mine-tuned"
    assert told["curves"]["steps"] == 2
    assert (tmp_path / "h" / "runs" / "train" / "mine" / "report.json").is_file()
    other = [*arguments, "--seed", 7, "--steps", 1, "--name", "other"]
    assert CliRunner().invoke(app, list(map(str, other)), catch_exceptions=False).exit_code == 0
    for kind in ("", "-tuned"):  # the same is held out whatever the seed is
        one, two = (
            json.loads((tmp_path / "h" / "runs" / "train" / f"{name}{kind}" / "run.json").read_text())
            for name in ("mine", "other")
        )
        assert (one["dev"], one["settings"] != two["settings"]) == (two["dev"], True)
    with pytest.raises(InputError, match="--split names judgements"):
        CliRunner().invoke(app, ["--split", "train"], catch_exceptions=False)
    (folder / "qrels" / "none.tsv").write_text("query-id\tcorpus-id\tscore\nq0\td0\t0\nq1\td1\t0\n")
    for split, says in (("test", "The splits of this collection: none, train"), ("none", "nothing can be learnt")):
        wrong = ["--data", folder, "--split", split, "--steps", 2, "--home", tmp_path / split]
        with pytest.raises(InputError, match=says):  # at once, not when the documents are learned
            CliRunner().invoke(app, list(map(str, wrong)), catch_exceptions=False)
        assert not (tmp_path / split / "runs").exists()


def test_judged_queries_that_ask_for_no_titled_document_are_refused_at_once(tmp_path):
    from foveal.cli.train_corpusbrain import _judged

    (tmp_path / "qrels").mkdir()
    for name in ("corpus", "queries"):
        lines = "".join(json.dumps({"_id": f"{name[0]}{n}", "title": "", "text": f"text {n}"}) + "\n" for n in range(9))
        (tmp_path / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"q{n}\tc{n}\t1\n" for n in range(9))
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    with pytest.raises(InputError, match="0 to learn from and 0 to choose by ask for a document with a title"):
        _judged(tmp_path, "train", [])
    titled = [TitledText(f"c{n}", f"Title {n}", ("text",)) for n in range(9)]
    learnt, dev = _judged(tmp_path, "train", titled)
    assert {(one.source, one.titles) for one in (*learnt, *dev)} == {(f"text {n}", (f"Title {n}",)) for n in range(9)}
    assert learnt
    assert dev


def test_the_command_numbers_titles_that_the_base_writes_alike(tmp_path):
    from foveal.cli.train_corpusbrain import _texts

    titles = ["Privacy Policy", "Privacy policy", "మృతి", "Terms"]
    lines = [{"_id": f"d{n}", "title": title, "text": f"Text {n}."} for n, title in enumerate(titles)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    found = {text.id: text.title for text in _texts(tmp_path, settings, "minilm")}
    assert found == {"d0": "Privacy Policy", "d1": "Privacy policy (2)", "d3": "Terms"}
    assert [text.title for text in _texts(tmp_path, settings, None)] == titles  # bytes tell all apart


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"_id": "d0", "title": null, "text": "Text."}', "line 1, has None as 'title'"),  # once called "None"
        ('{"title": "Terms", "text": "Text."}', "line 1, has None as '_id'"),
        ("[1]", "line 1, holds a list"),
    ],
)
def test_the_command_names_a_line_that_is_no_document(tmp_path, line, said):
    from foveal.cli.train_corpusbrain import _texts

    (tmp_path / "corpus.jsonl").write_text(line + "\n")
    with pytest.raises(InputError, match=said):
        _texts(tmp_path, Settings(home=tmp_path / "home", cache=tmp_path / "cache"), None)


def test_an_empty_library_is_said_to_be_empty(tmp_path):
    from foveal.cli.train_bprop import titled_texts
    from foveal.cli.train_corpusbrain import _texts
    from foveal.ranking.judged import Shelf, of_headings

    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache", encoder="none")
    library = Library.open(settings=settings)
    for learnt in (
        lambda: _texts(None, settings, None),
        lambda: titled_texts(None, settings),
        lambda: of_headings(Shelf.of(library), None),
    ):
        with pytest.raises(InputError, match=r"^The library holds no .* to learn.*Fill it: foveal add FILE_OR_FOLDER$"):
            learnt()
