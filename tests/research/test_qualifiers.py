"""A claim keeps the words of its source and loses the one on which all hangs."""

from __future__ import annotations

import pytest

from foveal.research.checks import WordChecks
from foveal.research.qualifiers import dropped, joined_over, widened
from foveal.research.verification import Verifier
from foveal.types import Passage, Span

LOW = "In conclusion, a low serum vitamin D concentration is associated with a high risk of diabetes in Korean adults."


def passage(text: str) -> Passage:
    return Passage(Span("d", 0, len(text)), text)


@pytest.mark.parametrize(
    ("claim", "said", "word"),
    [
        ("Vitamin D is associated with a high risk of diabetes.", LOW, "low"),
        ("Vitamin D causes rickets.", "Vitamin D deficiency causes rickets.", "deficiency"),
        ("Oxygen killed the cells.", "The lack of oxygen killed the cells.", "lack"),
        ("p62 enhances inflammation.", "Total-body p62 ablation enhances inflammation.", "ablation"),
        ("It was an inflammatory drug.", "It was an anti-inflammatory drug.", "anti"),
        ("The tax would harm the poor, critics aside.", "A ban on the tax would harm many.", ""),
        ("The tax harms trade.", "A ban on the tax harms trade.", "ban"),
        ("The drug is linked to a risk of cancer.", "The drug is linked to a reduced risk of cancer.", "reduced"),
        ("Stress leads to growth and loss of cells.", "Stress reduced growth and led to loss of cells.", "reduced"),
        ("Drugs of cancer helped in cancer.", "Anti-cancer drugs helped in cancer.", "anti"),
        ("IL-15 mice show that IL-15 helps.", "IL-15 knockout mice show that IL-15 helps.", "knockout"),
        ("Growth slows the cells.", "Growth factor inhibitors slow the cells.", "inhibitors"),
        ("The cells died of their electrons.", "The cells died of the loss of many of their electrons.", "loss"),
        ("A ban on the drug is a risk.", "A ban on the drug is a reduced risk.", "reduced"),
    ],
)
def test_a_word_of_lack_that_is_left_out(claim, said, word):
    assert dropped(claim, said) == word


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("A lack of vitamin D causes rickets.", "Vitamin D deficiency causes rickets."),
        ("Too little vitamin D causes rickets.", "Vitamin D deficiency causes rickets."),
        ("Without oxygen the cells died.", "The lack of oxygen killed the cells."),
        ("A small dose of it helps.", "A low dose of it helps."),
        ("A low dose for those of low age.", "A low dose of it helps those of low age."),
        ("The drug lowers the risk.", "The drug is linked to a reduced risk of cancer."),
        ("The drug doesn't raise the risk.", "The drug is linked to a reduced risk of cancer."),
        ("Vitamin D prevents rickets.", "Vitamin D prevents rickets, and vitamin D deficiency causes it."),
        ("Vitamin D deficiency harms bones.", "Vitamin D insufficiency and deficiency harm bones."),
        ("Vitamin D insufficiency harms bones.", "Vitamin D insufficiency or deficiency harms bones."),
        ("The skull was small.", "The skull of the child with many a loss was small."),
        ("Drugs helped in cancer.", "Anti-cancer drugs helped in cancer."),
        ("It was seen in stem cells.", "It was seen in stem cells, not in non-stem cells."),
        ("The mill burnt.", "The mill burnt in a low fire."),
        ("", "A lack of words."),
        ("The mill burnt.", ""),
        ("It is low.", "Low"),
        ("Of it.", "Lack of"),
    ],
)
def test_nothing_is_left_out(claim, said):
    assert dropped(claim, said) == ""


@pytest.mark.parametrize(
    ("claim", "said", "word"),
    [
        ("The prevalence of A is that of B.", "The low prevalence of A is the same as the prevalence of B.", ""),
        ("It shows a prevalence of A.", "It shows a low prevalence of A and the prevalence of B.", "low"),
        (
            "Corin may harm; corin is a marker.",
            "Corin deficiency may harm, and plasma corin is a marker.",
            "deficiency",
        ),
        ("Tests showed a but high worth.", "Tests showed a weak but high worth.", "weak"),
        ("Inhibition of A caused B.", "Inhibition of A caused inhibition of B.", "inhibition"),
        ("This leads to band.", "This leads to absence of a band.", "absence"),
        ("A and harm bones.", "A insufficiency and deficiency harm bones.", "insufficiency"),
        ("A insufficiency and harm bones.", "A insufficiency and deficiency harm bones.", ""),
        ("It does not ask for rain.", "It does ask for low rain.", ""),
        ("The town was panned by many.", "The town was panned by critics many a time.", ""),
        ("Mice.", "Low", ""),
        ("", "", ""),
        ("Mice die of.", "Mice die of lack of", ""),
    ],
)
def test_a_word_of_lack_that_the_claim_closes_up_over(claim, said, word):
    assert joined_over(claim, said) == word


def test_a_claim_that_closes_up_is_told_by_less_of_its_words():
    """What stands before and behind the gap shows where it is from, under an opening of the writer's own."""
    said = passage("It is built on the site of a former barracks by the river.")
    claim = "As several accounts agree, it is built on the site of a barracks."
    assert Verifier().check(claim, [said]).left_out == "former"


@pytest.mark.parametrize("checks", [Verifier(), WordChecks()], ids=["verifier", "words"])
def test_such_a_claim_is_not_supported(checks):
    cited = [passage(LOW)]
    wrong = checks.check("Vitamin D is associated with a high risk of diabetes in Korean adults.", cited)
    right = checks.check("A low vitamin D concentration is associated with a high risk of diabetes.", cited)
    assert (wrong.label, wrong.left_out) == ("partly", "low")
    assert wrong.lacking == "the source says “low”"
    assert (right.label, right.left_out, right.lacking) == ("supported", "", "")


def test_a_sentence_that_the_claim_is_not_of_tells_nothing():
    cited = [passage("Vitamin D deficiency was common in the north. Cod liver oil and fish hold much of it.")]
    assert Verifier().check("Vitamin D is held by fish and by cod liver oil.", cited).left_out == ""


@pytest.mark.parametrize(
    ("claim", "said", "word"),
    [
        ("All mills burnt down in 1802.", "Some of the mills burnt down in 1802.", "some"),
        ("Every patient improved.", "Most patients improved.", "most"),
        ("The valve is always open at night.", "The valve is often open at night.", "often"),
        ("The entire crew was saved.", "Half of the crew was saved.", "half"),
        ("Each of the old mills burnt.", "Several old mills burnt.", "several"),
    ],
)
def test_what_is_said_of_some_and_told_of_all(claim, said, word):
    assert widened(claim, said) == word
    assert Verifier().check(claim, [passage(said)]).label in ("partly", "unsupported")
    assert WordChecks().check(claim, [passage(said)]).label in ("partly", "unsupported")


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("All mills burnt down.", "All mills burnt down, some of them twice."),
        ("Some mills burnt down.", "Some of the mills burnt down."),
        ("All mills burnt down.", "The mills burnt down."),
        ("Each of the ten mills burnt.", "Several mills were built; the ten mills burnt."),
        ("After all the mills burnt down, he left.", "Many left; each mill had burnt down."),
        ("The mills helped each other.", "Some mills helped one another."),
        ("Every common cause was found.", "The most common cause was found."),
        ("All of the crew was saved.", "The crew was saved by several boats."),
    ],
)
def test_what_is_told_of_no_more_than_is_said(claim, said):
    assert widened(claim, said) == ""
