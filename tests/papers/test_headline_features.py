"""The features of a headline by hand, in several scripts, and at both ends of length."""

from __future__ import annotations

import numpy as np
import pytest

from foveal.errors import InputError, UnknownName
from foveal.papers.headline_features import (
    FIVE,
    PLAIN,
    Features,
    ReadArticle,
    context_of,
    fragments,
    missing_numbers,
    novelty,
    numbers_of,
)
from foveal.text.ngrams import CharacterTfIdf, GramSettings
from foveal.text.tokens import words

ARTICLE = (
    "Heavy rain hit the coast. Five people died in a bus crash near Nellore on 3 May. Police said the driver slept."
)


def features(*texts, names=PLAIN, likelihood=None):
    known = CharacterTfIdf.fit([words(text) for text in texts], GramSettings(least=1))
    return Features(known, names, likelihood=likelihood)


def of(headline, article, names=PLAIN):
    found = features(headline, article, names=names).of([(headline, article)])
    return dict(zip(found.names, found.values[0].tolist(), strict=True)), found.evidence[0]


def test_the_evidence_is_the_sentence_that_says_it():
    told, place = of("Five people died in bus crash", ARTICLE)
    assert ARTICLE[slice(*place)] == "Five people died in a bus crash near Nellore on 3 May."
    assert told["ext_oracle"] == pytest.approx(2 * 6 / (6 + 12))
    assert told["lead1"] == 0
    assert told["numbers"] == told["negation"] == 0
    assert all(0 <= value <= 1 for value in told.values())


@pytest.mark.parametrize(
    ("headline", "one", "two"),
    [
        ("Police said the driver slept", 0, 0),
        ("Storm shuts schools", 1, 1),
        ("Police shut coast", 1 / 3, 1),
        ("bus crash, bus crash", 0.5, 0.5),  # one fragment twice counts once
        ("rain bus crash rain", 1 / 4, 1 / 2),  # of one word: rain, bus crash, rain again
        ("coast Five people", 0, 0),  # a run may cross a sentence's end
        ("!!!", 1, 1),
    ],
)
def test_novel_words_by_hand(headline, one, two):
    article = ReadArticle(ARTICLE)
    assert novelty(words(headline), article, 1) == pytest.approx(one)
    assert novelty(words(headline), article, 2) == pytest.approx(two)


def test_a_fragment_is_the_longest_run_wherever_it_stands():
    article = ReadArticle("a b x. a b c x. a y")
    assert fragments(words("a b c a b"), article, 1) == {("a", "b", "c"), ("a", "b")}
    assert fragments(words("c a b"), article, 2) == {("a", "b")}


def test_fragments_by_their_definition():
    draw = np.random.default_rng(0)
    for _ in range(200):
        held, head = (" ".join(draw.choice(list("abc"), size)) for size in (12, 6))
        article, own = ReadArticle(held), head.split()
        for n in (1, 2):
            found, at = set(), 0
            while at < len(own):
                k = max((k for k in range(len(own) - at + 1) if " ".join(own[at : at + k]) in held), default=0)
                if k > n - 1:
                    found.add(tuple(own[at : at + k]))
                at += k if k > n - 1 else 1
            assert fragments(own, article, n) == found


@pytest.mark.parametrize(
    ("headline", "share"),
    [("Five die on 3 May", 0), ("Five die on 4 May", 1), ("3 of 7 die", 0.5), ("Nobody", 0), ("౩ మే", 0)],
)
def test_numbers_that_the_article_lacks(headline, share):
    assert missing_numbers(words(headline), ReadArticle(ARTICLE)) == share


def test_numbers_are_read_in_any_digits():
    assert numbers_of(words("1,000 and ౧౦౦౦ and 3.5m 800M 2/3")) == ["1000", "1000", "3.5", "800", "2/3"]


@pytest.mark.parametrize(
    ("headline", "article", "no"),
    [
        ("Bus did not crash", "The bus did crash.", 1),
        ("Bus did not crash", "The bus did not crash.", 0),
        ("బస్సు ప్రమాదం కాదు", "బస్సు ప్రమాదం జరిగింది.", 1),
        ("हादसा नहीं हुआ", "हादसा नहीं हुआ।", 0),
    ],
)
def test_negation(headline, article, no):
    assert of(headline, article)[0]["negation"] == no


@pytest.mark.parametrize(
    ("headline", "article"),
    [
        ("రోడ్డు ప్రమాదంలో ఐదుగురు మృతి", "నెల్లూరు వద్ద జరిగిన రోడ్డు ప్రమాదంలో ఐదుగురు మృతి చెందారు. వర్షం కురిసింది."),
        ("東京で大雨", "昨日、東京で大雨が降った。交通は止まった。"),
        ("תאונה בכביש", "אתמול הייתה תאונה בכביש. חמישה נפצעו."),
        ("حادث في الطريق", "وقع حادث في الطريق؟ أصيب خمسة۔"),
        ("crash ప్రమాదం 東京", "A crash. ప్రమాదం జరిగింది. 東京。"),
    ],
)
def test_every_script_has_evidence(headline, article):
    told, place = of(headline, article)
    other, _ = of("zzz qqq", article)
    assert place is not None
    assert told["ext_oracle"] > 0
    assert told["cosine"] > other["cosine"]
    assert told["novel_1"] < 1


def test_many_pairs_are_as_one_by_one():
    pairs = [
        (head, text) for head in ("Five died", "Rain hit coast", "!!") for text in (ARTICLE, "Rain. Coast.", "...")
    ]
    made = features(*(text for pair in pairs for text in pair if words(text)))
    together = made.of(pairs)
    for row, pair in enumerate(pairs):
        alone = made.of([pair])
        np.testing.assert_allclose(together.values[row], alone.values[0], atol=1e-6)
        assert together.evidence[row] == alone.evidence[0]
    assert together.evidence[2] is None
    assert made.of([]).values.shape == (0, len(PLAIN))


@pytest.mark.slow
def test_an_article_of_ten_megabytes_is_read_whole():
    filler = f"{'representative' * 3} " * 9 + "met. "
    filler *= 10 * 2**20 // len(filler)
    article = f"{filler}Five people died in a bus crash. {filler[:200]}"
    told, place = of("Five people died in bus crash", article, names=FIVE)
    assert article[slice(*place)] == "Five people died in a bus crash."
    assert told["novel_1"] == 0


def test_wrong_input_is_refused():
    made = features(ARTICLE)
    with pytest.raises(InputError, match="The headline is empty"):
        made.of([(" ", ARTICLE)])
    with pytest.raises(InputError, match="The article of pair 1 is empty"):
        made.of([("a", "b"), ("a", "")])
    with pytest.raises(UnknownName, match="cosine, novel_1"):
        features(ARTICLE, names=("length",))
    with pytest.raises(UnknownName, match="needs a language model"):
        features(ARTICLE, names=("likelihood",))


def test_a_likelihood_reads_the_beginning_and_the_evidence():
    asked = []

    def gain(headline, context):
        asked.append(context)
        return 1.0 if "Nellore" in context else -1.0

    long = f"{'Rain fell. ' * 400}{ARTICLE}"
    made = features(long, names=("likelihood",), likelihood=gain)
    values = made.of([("Five people died in a bus crash near Nellore", long), ("x", "Rain fell.")]).values[:, 0]
    assert values == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])
    assert len(asked[0]) <= 1500
    assert asked[0].startswith("Rain fell.")
    assert context_of(ReadArticle("short"), (0, 5)) == "short"
