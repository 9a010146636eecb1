"""Whether cited passages bear claims out: numbers, names, "not", windows, several sources, a model's yes and no."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from honest import HashedWords
from hypothesis import given
from hypothesis import strategies as st

from foveal.bench.report_citations_data import (
    NEGATION,
    NEXT,
    NUMBER,
    Pair,
    another_number,
    is_name,
    negated,
    passage_pairs,
    statement,
    worn,
)
from foveal.errors import InputError
from foveal.evaluation.classification import auroc
from foveal.evaluation.reports import alce
from foveal.models import load_encoder
from foveal.research.evidence import Claim, Evidence
from foveal.research.verification import MODEL, Verifier, Weights, entails, log_odds, shipped
from foveal.research.verification_signals import NAMES, Read, _placed, denies, opposed, stems, turned, windows
from foveal.types import Passage, Span

MILL = (
    "Harrow Mill stands on the river Aire. It was built in 1820 by Ada Hart, who paid 12,500 pounds for the land. "
    "The mill did not burn in the great fire of 1835, although its roof was damaged. "
    "Today it grinds 40 tonnes of oats a day."
)
DAM = "The Orlo Dam feeds the mill. Its wall is 30 metres high, and it was finished in May 1931 by Bruno Lind's firm."
PEOPLE = (
    "Ada Hart", "Bruno Lind", "Clara Okafor", "Dmitri Quist", "Elena Ryder", "Farid Sato", "Greta Tamm", "Hugo Wolff",
)  # fmt: skip
TOWNS = ("Graz", "Lund", "Porto", "Tartu", "Lyon", "Bilbao", "Cork", "Brno")


def passage(text: str, name: str = "d", start: int = 0, heading: str | None = None) -> Passage:
    return Passage(Span(name, start, start + len(text)), text, heading)


@pytest.fixture(scope="module")
def verifier():
    return Verifier(load_encoder("minilm"))


@pytest.mark.parametrize(
    "claim",
    [
        "Ada Hart built Harrow Mill in 1820.",
        "The land of the mill cost Ada Hart 12500 pounds.",
        "The mill did not burn in the fire of 1835.",
        "Each day 40 tonnes of oats are ground in the mill.",
    ],
)
def test_what_the_text_says_is_supported(verifier, claim):
    verdict = verifier.check(claim, [passage(MILL)])
    assert (verdict.label, verdict.missing) == ("supported", ())


@pytest.mark.parametrize(
    ("claim", "labels", "missing"),
    [
        ("Ada Hart built Harrow Mill in 1850.", {"contradicted"}, ("1850",)),
        ("The land of the mill cost Ada Hart 15,200 pounds.", {"contradicted"}, ("15,200",)),
        ("Harrow Mill was built by Greta Young in 1820.", {"partly", "unsupported"}, ("Greta Young",)),
        ("The mill burnt in the great fire of 1835.", {"contradicted", "partly"}, ()),
        ("Harrow Mill was not built in 1820 by Ada Hart.", {"contradicted"}, ()),
        ("The choir of Bremen sang in Lund for two weeks.", {"unsupported"}, ("Bremen", "Lund", "two")),
    ],
)
def test_what_the_text_does_not_say_is_not(verifier, claim, labels, missing):
    verdict = verifier.check(claim, [passage(MILL)])
    assert verdict.label in labels
    assert verdict.missing == missing


def test_the_best_window_is_shown_at_its_place(verifier):
    text = f"{DAM} {MILL}"
    verdict = verifier.check("Bruno Lind finished the Orlo Dam in May 1931.", [passage(text, "x", start=100)])
    assert verdict.where is not None
    assert text[verdict.where.start - 100 : verdict.where.end - 100] == verdict.quote
    assert "May 1931" in verdict.quote
    assert "oats" not in verdict.quote


def test_two_sources_may_bear_a_claim_out_together(verifier):
    claim = "The Orlo Dam, finished in May 1931, feeds the mill of 1820 that Ada Hart built."
    alone = [verifier.check(claim, [passage(text)]) for text in (MILL, DAM)]
    both = verifier.check(claim, [passage(MILL, "m"), passage(DAM, "d")])
    assert all(one.missing for one in alone)
    assert both.missing == ()
    assert both.score > max(one.score for one in alone)
    assert both.label == "supported"


def test_the_title_counts_for_names(verifier):
    said = "It was built in 1820 by the river."
    claim = "Harrow Mill was built in 1820 by the river."
    assert verifier.check(claim, [passage(said)]).missing == ("Harrow Mill",)
    assert verifier.check(claim, [passage(said, heading="Harrow Mill")]).label == "supported"


def test_nothing_cited_and_nothing_said(verifier):
    verdict = verifier.check("It was built in 1820.", [])
    assert (verdict.label, verdict.score, verdict.missing, verdict.where) == ("unsupported", 0.0, ("1820",), None)
    assert verifier.check("It was built in 1820.", [passage(" ")]).label == "unsupported"
    assert verifier.check_many([]) == []
    with pytest.raises(InputError, match="claim is empty"):
        verifier.check("  ", [passage(MILL)])


def test_many_at_once_are_each_alone(verifier):
    cases = [
        ("Ada Hart built it in 1820.", [passage(MILL)]),
        ("It is 30 metres high.", [passage(DAM), passage(MILL, "m")]),
    ]
    for together, (claim, cited) in zip(verifier.check_many(cases), cases, strict=True):
        alone = verifier.check(claim, cited)
        assert (together.label, together.where, together.quote) == (alone.label, alone.where, alone.quote)
        assert together.score == pytest.approx(alone.score, abs=0.02)  # bfloat16: rows of a batch differ a little


def test_the_score_is_a_logistic_regression():
    weights = Weights({"cover": 2.0, "negated": -3.0}, -0.5, 0.5, 0.2)
    assert weights.score({"cover": 0.5, "negated": 1.0}) == pytest.approx(1 / (1 + math.exp(0.5 - 1.0 + 3.0)))
    for name, one in shipped().items():
        assert set(one.weights) == {*NAMES, *((MODEL,) if name == MODEL else ())}
        assert 0 < one.partly < one.supported < one.sure < 1
        assert one.weights["number_lost"] < 0 > one.weights["name_lost"]
    assert shipped()[MODEL].weights[MODEL] > 0


def test_without_an_encoder_words_stand_in():
    verdict = Verifier().check("Ada Hart built Harrow Mill in 1820.", [passage(MILL)])
    assert dict(verdict.signals)["cosine"] == pytest.approx(1.0)  # all of its words are there
    hashed = Verifier(HashedWords(dimension=64)).check("Ada Hart built Harrow Mill in 1820.", [passage(MILL)])
    assert verdict.label == hashed.label == "supported"


def test_claims_of_a_report_get_their_verdicts():
    evidence = {"e1": Evidence(key="e1", source="s1", question="?", passage=passage("It was built in 1820."))}
    claims = [
        Claim(text="Harrow Mill was built in 1820.", evidence=("e1", "e9")),
        Claim(text="It has 5 doors.", evidence=()),
    ]
    first, second = Verifier().check_claims(claims, evidence, {"s1": "Harrow Mill"})
    assert first.verdict is not None
    assert second.verdict is not None
    assert (first.verdict.label, second.verdict.label) == ("supported", "unsupported")


class Says:
    """A model of given log-probabilities of "Yes" and "No"."""

    name, context_tokens = "says", 4096

    def __init__(self, yes, no):
        self.odds, self.asked = {"Yes": yes, "No": no}, []

    def score(self, messages, continuation, *, cancel=None):  # noqa: ARG002
        self.asked.append(messages[-1]["content"])
        return [self.odds[continuation]]


def test_a_model_says_yes_or_no():
    claim, cited = "Ada Hart built Harrow Mill in 1820.", [passage(MILL, heading="Mills")]
    sure, unsure = (Verifier(model=Says(yes, no)) for yes, no in ((-0.1, -3.1), (-3.1, -0.1)))
    (looked,) = sure.looked_at([(claim, cited)])
    assert looked.signals[MODEL] == pytest.approx(3.0)
    assert log_odds(Says(-0.01, -30), looked) == 8.0
    assert "Mills: Harrow Mill" in sure.model.asked[0]
    assert claim in sure.model.asked[0]
    assert sure.check(claim, cited).score > unsure.check(claim, cited).score
    assert dict(Verifier(model=Says(-1, -2)).check(claim, []).signals) == {}  # nothing to read, nothing asked


def test_the_verifier_is_alces_entailment(verifier):
    report = [("Ada Hart built Harrow Mill in 1820.", [0, 1]), ("The wall is 30 metres high.", [0])]
    found = alce(report, [MILL, DAM], entails(verifier))
    assert (found.recall, found.precision) == (0.5, pytest.approx(1 / 3))  # the dam says nothing of who built the mill


# -- signals ----------------------------------------------------------------------------------------------------------


def test_windows_are_up_to_three_sentences_with_most_of_the_claim():
    claim = Read.of("The mill of 1820 grinds oats.")
    for window in windows(passage(MILL, start=7), claim):
        span = window.passage.span
        assert MILL[span.start - 7 : span.end - 7] == window.passage.text
    shares = [len(set(claim.words) & one.known) for one in windows(passage(MILL), claim, most=99)]
    assert shares == sorted(shares, reverse=True)
    assert len(shares) == 4 + 3 + 2
    assert windows(passage(""), claim) == []


@pytest.mark.parametrize(
    ("claim", "said", "wanted"),
    [
        ("The mill did not burn.", "The mill burnt down.", True),
        ("The mill burns.", "The mill never burns oats.", True),
        ("The mill burns oats.", "The mill burns oats, although no dam feeds it.", False),
        ("The mill did not burn.", "The mill didn't burn.", False),
        ("The mill burns oats.", "The mill burns oats.", False),
        ("The mill burns oats.", "There is no doubt that the mill burns oats.", False),
        ("The mill burns oats.", "The mill not only burns oats but also wood.", False),
        ("The mill opened in 1820.", "The mill did not open until 1820.", False),
        ("At least 50 mills burnt.", "No fewer than 50 mills burnt.", False),
        ("The mill burns oats.", "No clear evidence was found that the mill burns oats.", True),
        ("The mill burns oats.", "The mill burns oats; no evidence of harm was found.", False),
        ("Die Mühle mahlt Hafer.", "Die Mühle mahlt keinen Hafer.", True),
        ("Die Mühle mahlt Hafer.", "Hafer mahlt die Mühle nicht.", True),
        ("Le moulin brûle l'avoine.", "Le moulin n'a jamais brûlé l'avoine.", True),
        ("Мельница не сгорела.", "Мельница сгорела.", True),
        ("The mill burns only oats.", "The mill burns not only oats but also wood.", True),
        ("More than 50 mills burnt.", "No more than 50 mills burnt.", True),
        ("The mill worked until 1820.", "The mill did not work until 1820.", True),
        ("The mill burned oats.", "The mill never burned oats, and stood idle until 1950.", True),
        ("There is doubt that the mill burnt.", "There is no doubt that the mill burnt.", True),
        ("The bridge is not safe.", "The bridge is unsafe.", False),
        ("The bridge is unsafe.", "The bridge is not safe.", False),
        ("Der Vertrag ist nicht gültig.", "Der Vertrag ist ungültig.", False),
        ("Mindestens 50 Mühlen brannten.", "Nicht weniger als 50 Mühlen brannten.", False),
        ("Mehr als 50 Mühlen brannten.", "Nicht mehr als 50 Mühlen brannten.", True),
        ("La ville compte 50 moulins.", "La ville ne compte pas moins de 50 moulins.", False),
        ("Le moulin tourne encore.", "Le moulin ne tourne plus.", True),
        ("Le roi n'a pas signé le traité.", "Le traité n'a pas été signé par le roi.", False),
        ("El molino quema avena.", "El molino no sólo quema avena, sino leña.", False),
        ("O moinho queima aveia.", "O moinho não queima apenas aveia, mas lenha.", False),
        ("O moinho ardeu em 1890.", "Não há dúvida de que o moinho ardeu em 1890.", False),
        ("Сгорело 50 мельниц.", "Сгорело не менее 50 мельниц.", False),
    ],
)
def test_who_says_not_of_what(claim, said, wanted):
    assert turned(claim, said) is wanted


def test_denied_and_opposed_words():
    assert denies("It did not burn in the great fire.") == set(stems("burn great fire"))
    assert opposed("It increases the risk.", "It decreases the risk.")
    assert not opposed("It increases the risk.", "It increases the risk, not decreases it.")
    assert not opposed("It raises it.", "It increases it.")
    assert not opposed("Norway lost to Denmark in the final.", "Denmark beat Norway in the final.")
    assert opposed("The result is consistent.", "The result is inconsistent.")
    for one, other in (("improved", "proved"), ("disease", "ease"), ("import", "port"), ("until", "till")):
        assert not opposed(f"It is {one}.", f"It is {other}.")
        assert not opposed(f"It is {other}.", f"It is {one}.")


def placed_by_definition(claim, among, otherwise):
    """The mean over anchors of the best share, over the places of its last word, of the words around it."""
    shares = []
    for own in filter(None, (stems(one.text) for one in claim.anchors)):
        words = claim.words
        last = max((at for at, word in enumerate(words) if word == own[-1]), default=0)
        first = max(0, last - len(own) + 1)
        around = {*words[max(0, first - 4) : first], *words[last + 1 : last + 5]} - set(own)
        places = [at for at, word in enumerate(among) if word == own[-1]]
        near = [set(among[max(0, at - 8) : at + 9]) for at in places]
        shares.append(max((len(around & one) / max(1, len(around)) for one in near), default=0.0))
    return sum(shares) / len(shares) if shares else otherwise


WORDS = ("mill", "dam", "Ada", "Hart", "Orlo", "1820", "40", "oats", "ground", "Graz.", "wall", "of")
SOME = st.lists(st.sampled_from(WORDS), max_size=40)


@given(SOME, SOME)
def test_anchors_stand_among_their_words_as_defined(claim, said):
    read, among = Read.of(" ".join(claim)), stems(" ".join(said))
    assert _placed(read, among, 0.25) == placed_by_definition(read, among, 0.25)


class Compared(str):
    """A word that counts how often it is compared."""

    __slots__ = ()
    times = 0
    __hash__ = str.__hash__

    def __eq__(self, other):
        Compared.times += 1
        return str.__eq__(self, other)


def test_twice_the_names_are_twice_the_work():
    def comparisons(count: int) -> int:
        names = [f"Name{at}x" for at in range(count)]
        read = Read.of(f"We saw {', '.join(names)} in the town.")
        words = tuple(map(Compared, read.words))
        Compared.times = 0
        _placed(replace(read, words=words), words, 0.0)
        return Compared.times

    assert comparisons(200) < 3 * comparisons(100)


# -- made pairs -------------------------------------------------------------------------------------------------------


def test_false_claims_change_one_thing():
    draw = np.random.default_rng(0)
    other = another_number("It was built in 1820 by Ada.", MILL, draw)
    assert other is not None
    assert "1820" not in other
    assert another_number("No number.", MILL, draw) is None
    assert negated("It was built.") == "It was not built."
    assert negated("It was never built.") is negated("Mills burn.") is None
    assert statement("In which year did it open?", "1820") == "1820 did it open."
    assert statement("Name it.", "Mill") is None
    assert is_name("University of Graz")
    assert not is_name("German-language publications")
    assert worn("It was built (in haste) in 1820.", draw, 0.0).endswith(".")


def test_on_made_pairs_it_is_better_than_words_and_flags_a_fifth_of_false_citations(verifier):
    """A small form of `foveal bench report-citations`: retold sentences of texts written here."""
    texts = [
        (
            f"p{at}",
            f"Clocks of {where}",
            f"The founder of the works was {who}. In {1810 + 7 * at} the firm moved to a new hall near {where}. "
            f"It made {13 + 11 * at} kinds of clock for schools of {where}. "
            f"Its last owner was {PEOPLE[at - 3]}, a singer.",
        )
        for at, (who, where) in enumerate(zip(PEOPLE, TOWNS, strict=True))
    ]
    pairs = passage_pairs(texts, seed=0, most=8, worn_share=0.1)
    pairs += [
        Pair(one.claim, one.passages, one.kind, one.group)
        for one in passage_pairs(texts, seed=5, most=8, worn_share=0.1)
    ]
    kept = [one for one in pairs if one.true or one.kind in (NUMBER, NEGATION, NEXT)]
    verdicts = verifier.check_many([(one.claim, one.passages) for one in kept])
    true = [one.true for one in kept]
    own = auroc([one.score for one in verdicts], true)
    words = auroc([dict(one.signals)["cover"] for one in verdicts], true)
    flagged = [verdict.label != "supported" for verdict, one in zip(verdicts, true, strict=True) if not one]
    alarms = [verdict.label != "supported" for verdict, one in zip(verdicts, true, strict=True) if one]
    assert own >= 0.95
    assert own > words
    assert np.mean(flagged) >= 0.9
    assert np.mean(alarms) <= 0.1


@pytest.mark.parametrize(
    ("text", "year"),
    [
        ("奥拉磨坊由佩特拉·林德奎斯特于1842年设计。它为整个山谷磨大麦。", "1842"),
        ("オラの水車小屋は1842年にペトラが設計した。", "1842"),
        ("오라 방앗간은 1842년에 페트라가 설계하였다.", "1842"),
        ("在１８４２年，奥拉磨坊由佩特拉设计。", "１８４２"),
    ],
)
def test_a_number_that_stands_between_ideographs_is_held_against_the_text(text, year):
    passage = Passage(Span("d", 0, len(text)), text)
    right, wrong = Verifier().check_many([(text, [passage]), (text.replace(year, "1843"), [passage])])
    assert (right.label, wrong.label, wrong.missing) == ("supported", "contradicted", ("1843",))


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("The effect fell by 20 %.", "The effect rose by 20 %."),
        ("Vitamin D increases mortality in old people.", "Vitamin D decreases mortality in old people."),
        ("Birth weight is negatively associated with cancer.", "Birth weight was positively associated with cancer."),
        ("The dose was 5 mg.", "Patients received a dose of 5 g daily."),
        ("The drug is unsafe for children.", "The drug is safe for children."),
        ("The minimum dose is 10 mg.", "The maximum dose is 10 mg."),
        ("Die Brücke wurde nicht 1890 gebaut.", "Die Brücke wurde 1890 gebaut."),
    ],
)
def test_what_is_said_word_for_word_but_for_one_opposite_is_contradicted(claim, text):
    verifier = Verifier()
    assert verifier.check(claim, [passage(text)]).label == "contradicted"
    assert verifier.check(text, [passage(text)]).label == "supported"


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("The drug raised survival.", "The drug raised survival, and lowered costs."),
        ("Sales rose in 2020.", "Sales fell in 2019 and rose in 2020."),
        ("More people lived with the drug.", "With the drug, fewer people died, and more people lived."),
    ],
)
def test_an_opposite_word_beside_the_same_one_says_nothing(claim, text):
    assert Verifier().check(claim, [passage(text)]).label == "supported"
