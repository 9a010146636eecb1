"""The judge of headlines: it learns from features, says why, says when it is not sure, and is the same when loaded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import tiny
from training.conftest import make_encoder

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.headlines import TECLASS_LICENCE, HeadlinePair, HeadlineSet, Taxonomy
from foveal.models.hub import folder_of
from foveal.models.local_chat import LocalChat
from foveal.papers.headline_features import FIVE, PLAIN
from foveal.papers.headline_judgements import report_of
from foveal.papers.headline_likelihood import LikelihoodGain
from foveal.papers.headline_pairs import changed_number, split_by_article, with_changed_numbers
from foveal.papers.headline_training import train_headline_judge
from foveal.papers.headlines import HeadlineJudge, JudgeSettings, load_judge
from foveal.settings import Settings
from foveal.training.linear import FitSettings
from foveal.training.loop import LoopSettings
from foveal.training.pair_classifiers import PairClassifier, PairSettings
from foveal.training.runs import RunSettings
from foveal.types import Document

PLACES = ("Nellore", "Kadapa", "Guntur", "Warangal", "Vizag", "Tirupati", "Ongole", "Eluru")
THINGS = ("bus crash", "train fire", "boat race", "school fair", "bridge fall", "market fire")


def article(n):
    """The main event first, a secondary one last."""
    thing, place, other = THINGS[n % 6], PLACES[n % 8], PLACES[(n + 3) % 8]
    main = f"A {thing} in {place} left {n + 3} people in hospital on Monday, officials said."
    return f"{main} The road was closed for hours. Rain is expected. In {other} the minister opened a new park."


def pairs(count=60, offset=0, licence=""):
    found = []
    for n in range(offset, offset + count):
        text = article(n)
        thing, place, other = THINGS[n % 6], PLACES[n % 8], PLACES[(n + 3) % 8]
        found += [
            HeadlinePair(f"{thing} in {place} left {n + 3} people in hospital", text, "HREL", f"h{n}"),
            HeadlinePair(f"Minister opened new park in {other}", text, "MREL", f"m{n}"),
            HeadlinePair(f"You won't believe what this actor wore, number {n + 90} stuns", text, "LREL", f"l{n}"),
        ]
    return HeadlineSet("made", tuple(found), licence)


@pytest.fixture(scope="module")
def judge():
    return HeadlineJudge(JudgeSettings(abstain=0.2)).fit(pairs(licence=TECLASS_LICENCE))


@pytest.fixture(scope="module")
def unseen():
    return pairs(20, 100)


def test_it_tells_the_classes_of_articles_it_never_read(judge, unseen):
    report = judge.evaluate(unseen)
    assert report.confusion.labels == ("HREL", "MREL", "LREL")
    assert report.confusion.macro > 0.95
    assert report.confusion.supports == {"HREL": 20, "MREL": 20, "LREL": 20}
    assert report.accuracy_where_sure >= report.confusion.accuracy


def test_a_judgement_says_why(judge):
    text = article(101)
    found = judge.predict("market fire in Tirupati left 104 people in hospital", text)
    assert found.label == "HREL"
    assert sum(found.probabilities.values()) == pytest.approx(1)
    assert set(found.features) == set(PLAIN)
    assert text[found.evidence_span.start : found.evidence_span.end] == found.evidence_sentence
    assert found.evidence_sentence.startswith("A market fire")
    assert json.loads(json.dumps(found.as_json()))["label"] == "HREL"


def test_a_documents_span_bears_its_id(judge):
    document = Document.of("test:a", article(3), "a")
    span = judge.predict("Minister opened new park", document).evidence_span
    assert span.document_id == document.id
    assert "minister opened" in document.quote(span)


def test_a_changed_number_is_no_longer_highly_related(judge):
    draw = np.random.default_rng(0)
    for n in range(100, 110):
        right = f"{THINGS[n % 6]} in {PLACES[n % 8]} left {n + 3} people in hospital"
        wrong = changed_number(right, article(n), draw)
        assert judge.predict(right, article(n)).label == "HREL"
        assert judge.predict(wrong, article(n)).label != "HREL"


def test_changed_numbers():
    draw = np.random.default_rng(1)
    other = changed_number("5 die, 7 hurt", "5 6 7 8 9", draw)
    assert sorted(one in other for one in ("5", "7")) == [False, True]
    assert changed_number("None die", "", draw) is None
    assert changed_number("౫ మృతి", "5", draw) != "౫ మృతి"


def test_changed_numbers_are_as_many_as_best_headlines():
    pairs = [("5 die", "5"), ("None die", "5"), ("Both live", "5"), ("7 sing", "7")]
    more, classes = with_changed_numbers(pairs, np.array([0, 0, 0, 2]), 1, seed=0)
    assert more[:4] == pairs
    assert list(classes) == [0, 0, 0, 2, 1, 1, 1]
    assert len({headline for headline, _ in more[4:]}) > 1
    assert all(headline.endswith(" die") and article == "5" for headline, article in more[4:])
    plain = [("None die", "5")]
    assert with_changed_numbers(plain, np.array([0]), 1, seed=0)[0] == plain


def test_it_is_the_same_when_loaded_and_keeps_the_licence(judge, unseen, tmp_path):
    asked = [(one.headline, one.article) for one in unseen.pairs[:9]]
    loaded = HeadlineJudge.load(judge.save(tmp_path / "judge"))
    assert loaded.settings == judge.settings
    assert loaded.licence == TECLASS_LICENCE == json.loads((tmp_path / "judge" / "judge.json").read_text())["licence"]
    for ours, theirs in zip(judge.predict_many(asked), loaded.predict_many(asked), strict=True):
        assert ours.label == theirs.label
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-6)
        assert ours.evidence_span == theirs.evidence_span
    with pytest.raises(InputError, match="not an empty folder"):
        judge.save(tmp_path / "judge")
    with pytest.raises(ModelUnavailable, match="headline judge"):
        HeadlineJudge.load(tmp_path)


@pytest.mark.parametrize("kind", ["svm", "bagging", "mlp"])
@pytest.mark.slow
def test_other_classifiers(kind, unseen, tmp_path):
    settings = JudgeSettings(kind=kind, fit=FitSettings(bags=2, rounds=40, learning_rate=1e-2))
    judge = HeadlineJudge(settings).fit(pairs())
    assert judge.evaluate(unseen).confusion.macro > 0.9
    loaded = HeadlineJudge.load(judge.save(tmp_path / kind))
    assert loaded.evaluate(unseen).confusion == judge.evaluate(unseen).confusion


@pytest.mark.slow
def test_without_relevance_features_it_can_only_go_by_style(unseen):
    """The headlines of the third class have a style; the first two are told apart by how they meet the article."""
    blind = HeadlineJudge(JudgeSettings(features=(), changed_numbers=False))
    swapped = [replace(one, article=article(int(one.id[1:]) + 41), label="LREL") for one in pairs().pairs[::3]]
    mixed = HeadlineSet("mixed", (*pairs().pairs, *swapped))
    held = [replace(one, article=article(int(one.id[1:]) + 41), label="LREL") for one in unseen.pairs[::3]]
    test = HeadlineSet("test", (*unseen.pairs, *held))
    seeing = HeadlineJudge(JudgeSettings(features=FIVE, changed_numbers=False))
    assert seeing.fit(mixed).evaluate(test).confusion.macro > blind.fit(mixed).evaluate(test).confusion.macro + 0.1


@pytest.mark.slow
def test_binary_and_sub_views_and_a_taxonomy_of_ones_own():
    names = {"HREL": "FME", "MREL": "FSE", "LREL": "CBT"}
    subs = HeadlineSet("subs", tuple(replace(one, label=names[one.label]) for one in pairs().pairs))
    assert HeadlineJudge(JudgeSettings(view="sub")).fit(subs).evaluate(subs).confusion.f1["CBT"] > 0.9
    assert HeadlineJudge(JudgeSettings(view="binary")).fit(subs).labels == ("Relevant", "Less relevant")
    own = Taxonomy(primary={"fine": (), "bad": ()}, relevant=frozenset({"fine"}))
    named = HeadlineSet(
        "own", tuple(replace(one, label="bad" if one.label == "LREL" else "fine") for one in subs.pairs)
    )
    with pytest.raises(InputError, match="no label 'fine'"):
        HeadlineJudge(JudgeSettings(view="sub")).fit(named)
    judge = HeadlineJudge(taxonomy=own).fit(
        HeadlineSet("own", tuple(replace(one, label="bad" if one.label == "CBT" else "fine") for one in subs.pairs))
    )
    assert judge.predict("You won't believe what this actor wore", article(1)).label == "bad"


@pytest.mark.slow
def test_an_encoder_judges_and_still_names_the_evidence(tmp_path):
    folder = make_encoder(tmp_path / "encoder")
    made = []
    for n in range(80):
        topic, other = n % 2, (n // 2) % 2
        text = f"f{n % 5} f{n % 7}. b{other} f{n % 3}. f1 f2."
        made.append(HeadlinePair(f"a{topic} b{topic}", text, "HREL" if topic and other else "LREL"))
    learnt = HeadlineSet("topics", tuple(made))
    loop = LoopSettings(epochs=15, batch=16, learning_rate=1e-2)
    settings = JudgeSettings(kind="encoder", encoder=str(folder), pairs=PairSettings(tokens=24, loop=loop))
    judge = HeadlineJudge(settings).fit(learnt, learnt, folder=tmp_path / "run")
    assert judge.evaluate(learnt).confusion.f1["HREL"] > 0.8
    found = judge.predict("a1 b1", "f1 f2. b1 f3. f4.")
    assert found.evidence_sentence == "b1 f3."
    loaded = HeadlineJudge.load(judge.save(tmp_path / "judge"))
    assert loaded.predict("a1 b1", "f1 f2. b1 f3. f4.").probabilities == pytest.approx(found.probabilities, abs=1e-5)


def test_an_encoders_vectors_may_count_beside_the_features(tmp_path, unseen):
    folder = make_encoder(tmp_path / "encoder")
    judge = HeadlineJudge(JudgeSettings(encoder=str(folder))).fit(pairs(20))
    asked = ("Minister opened new park", article(2))
    assert HeadlineJudge.load(judge.save(tmp_path / "judge")).predict(*asked).probabilities == pytest.approx(
        judge.predict(*asked).probabilities, abs=1e-4
    )


def test_a_language_models_likelihood(tmp_path):
    chat = LocalChat(tiny("qwen", tmp_path / "qwen"))
    gain = LikelihoodGain(chat)
    read = chat.score([{"role": "user", "content": "the mill\n\nHeadline:"}], " the key")
    unread = chat.score([{"role": "user", "content": "Headline:"}], " the key")
    assert gain("the key", "the mill") == pytest.approx(np.mean(read) - np.mean(unread), abs=1e-4)


def test_a_run_by_name(tmp_path, unseen, undrawn):
    settings = Settings(home=tmp_path / "home", cache=tmp_path / "cache")
    learnt = pairs(licence="Do not ship.")
    folder, report = train_headline_judge(learnt, run=RunSettings(home=settings.home, name="mine", test=unseen))
    assert folder == settings.home / "models" / "mine"
    assert report.notes == ("Do not ship.",)
    assert report.measured["dev"][0]["macro F1"] < 0.4 < 0.9 < report.measured["test"][1]["macro F1"]
    again, same = train_headline_judge(learnt, run=RunSettings(home=settings.home, name="mine", test=unseen))
    assert (again, same) == (folder, report)
    loop = replace(JudgeSettings().pairs.loop, bfloat16=True)  # it may go on where that is faster
    mixed = JudgeSettings(pairs=replace(JudgeSettings().pairs, loop=loop))
    run = RunSettings(home=settings.home, name="mine", test=unseen)
    assert train_headline_judge(learnt, mixed, run=run) == (folder, report)
    assert load_judge("mine", settings).licence == "Do not ship."
    with pytest.raises(UnknownName, match="There are: mine"):
        load_judge("other", settings)
    with pytest.raises(InputError, match=r"another run|another name"):
        train_headline_judge(pairs(30), run=RunSettings(home=settings.home, name="mine"))


def test_pairs_of_one_label_are_refused_in_words(tmp_path):
    alike = HeadlineSet("alike", tuple(one for one in pairs().pairs if one.label == "MREL"))
    with pytest.raises(InputError, match=r"learn from \d+ pairs, all labelled 'MREL'; it needs pairs of two labels"):
        train_headline_judge(alike, run=RunSettings(home=tmp_path))


def test_the_dev_pairs_of_a_report_were_not_learnt_from(tmp_path, undrawn):
    draw = np.random.default_rng(0)

    def said(count):
        return " ".join("".join(draw.choice(list("abcdefghik"), 5)) for _ in range(count))

    lots = [HeadlinePair(said(6), f"{said(20)}.", str(draw.choice(["HREL", "LREL"]))) for _ in range(60)]
    drawn = HeadlineSet("drawn by lot", tuple(lots))
    settings = JudgeSettings(view="binary", changed_numbers=False, dev_share=0.4)
    _, report = train_headline_judge(drawn, settings, run=RunSettings(home=tmp_path / "home", cache=tmp_path / "cache"))
    assert report.measured["dev"][1]["accuracy"] < 0.75  # who has learnt the lots knows them


def test_a_report_says_which_test_pairs_were_learnt_from(tmp_path, unseen, undrawn):
    learnt = pairs()
    mixed = HeadlineSet("mixed", (*unseen.pairs, *learnt.pairs[:3]))
    _, report = train_headline_judge(learnt, run=RunSettings(home=tmp_path, test=mixed))
    assert report.notes[0].startswith(f"3 of the {len(mixed)} test pairs stand among the training pairs")


def test_wrong_input_is_refused(judge):
    with pytest.raises(InputError, match="not fitted"):
        HeadlineJudge().predict("a", "b")
    with pytest.raises(InputError, match="not fitted"):
        HeadlineJudge().save("x")
    with pytest.raises(InputError, match="headline is empty"):
        judge.predict("", "b")
    with pytest.raises(InputError, match="article is empty"):
        judge.predict("a", " ")
    assert judge.predict_many([]) == []
    with pytest.raises(UnknownName, match="lr, svm, bagging, mlp, pmi, encoder"):
        JudgeSettings(kind="forest")
    with pytest.raises(InputError, match="needs the name of one"):
        JudgeSettings(kind="encoder")
    with pytest.raises(InputError, match="language model"):
        JudgeSettings(kind="pmi")
    with pytest.raises(InputError, match="fewer than two different articles"):
        HeadlineJudge().fit(HeadlineSet("x", pairs(1).pairs))
    unknown = HeadlineSet("x", tuple(replace(one, label="GOOD") for one in pairs(3).pairs))
    with pytest.raises(InputError, match=r"no label 'GOOD'. There are: HREL"):
        HeadlineJudge().fit(unknown)


@pytest.mark.parametrize("headline", ["!!!", "東京 ప్రమాదం crash", "a" * 5000, "\u200b?"])
def test_odd_headlines_get_a_judgement(judge, headline):
    found = judge.predict(headline, article(1))
    assert found.label in judge.labels
    assert np.isfinite(list(found.probabilities.values())).all()


def test_an_article_without_words_has_no_evidence(judge):
    found = judge.predict("Five die", "!!! ...")
    assert found.evidence_sentence is None
    assert found.evidence_span is None


def test_articles_are_not_in_both_parts():
    learnt, held = split_by_article(pairs(), share=0.2, seed=3)
    assert not {one.article for one in learnt.pairs} & {one.article for one in held.pairs}
    assert len(held) == 36
    with pytest.raises(InputError):
        report_of([], [], ("HREL", "MREL"))


@pytest.mark.model
def test_minilm_reads_pairs_and_its_vectors_count():
    judge = HeadlineJudge(JudgeSettings(encoder="minilm", features=("lead1",), texts=False)).fit(pairs(16))
    found = judge.predict("Fire at the market put many in hospital, officials say", article(5))  # few words in common
    assert found.label == "HREL"
    reader = PairClassifier.load(folder_of("minilm", Settings.load().cache, kind="encoder"), count=3, tokens=64)
    windows = reader.windows_of("minister opened a new park", f"{'Rain is expected. ' * 60}{article(5)}")
    assert len(windows) > 4
    assert "new park" in windows[0]
    assert reader.decisions([("a park", article(5)), ("rain", "Rain is expected. " * 60)]).shape == (2, 3)
