"""Claims with exchanged roles, and a name in another's place: what is flagged, and what must not be."""

from __future__ import annotations

import pytest

from foveal.research.anchors import anchors
from foveal.research.evidence import Claim, Verdict
from foveal.research.name_places import misplaced
from foveal.research.role_relations import relations
from foveal.research.role_words import Sentence, is_english, key_of
from foveal.research.roles import exchanged, resolved, told_conversely
from foveal.research.verification import Verifier
from foveal.research.verification_signals import opposed
from foveal.types import Passage, Span

# a sentence, a true paraphrase of it, and one with exchanged roles
TOLD = [
    (
        "Marble was shipped from Carra to Ostina.",
        "From Carra marble was shipped to Ostina.",
        "Marble was shipped from Ostina to Carra.",
    ),
    (
        "Ambassador Cole criticised Minister Tran for the delay.",
        "Minister Tran was criticised by Ambassador Cole.",
        "Minister Tran criticised Ambassador Cole for the delay.",
    ),
    (
        "Tern Airways took over Gull Air after the strike.",
        "After the strike Gull Air was taken over by Tern Airways.",
        "Gull Air took over Tern Airways after the strike.",
    ),
    (
        "After the election Smith succeeded Jones as mayor of the town.",
        "Smith followed Jones as mayor.",
        "Jones succeeded Smith as mayor of the town.",
    ),
    (
        "The pupil corrected the teacher in front of the class.",
        "The teacher was corrected by the pupil.",
        "The teacher corrected the pupil in front of the class.",
    ),
    (
        "Saturn has more moons than Jupiter.",
        "Jupiter has fewer moons than Saturn.",
        "Jupiter has more moons than Saturn.",
    ),
    (
        "The city of Marn surrendered to the army of Kesh.",
        "Marn gave itself up to the army of Kesh.",
        "The city of Kesh surrendered to the army of Marn.",
    ),
    (
        "The chapel stands to the north of the castle.",
        "The castle stands to the south of the chapel.",
        "The castle stands to the north of the chapel.",
    ),
    (
        "Light from Sirius reaches us sooner than light from Vega.",
        "Light from Vega reaches us later than that of Sirius.",
        "Light from Vega reaches us sooner than light from Sirius.",
    ),
    (
        "Jack the cat chased Rex the dog across the yard.",
        "Rex the dog was chased by Jack the cat.",
        "Rex the dog chased Jack the cat across the yard.",
    ),
    (
        "Poland joined the treaty after Hungary had joined it.",
        "Hungary joined the treaty before Poland did.",
        "Hungary joined the treaty after Poland had joined it.",
    ),
    (
        "Arden United lost to Bexley Rovers in the cup.",
        "Bexley Rovers beat Arden United in the cup.",
        "Bexley Rovers lost to Arden United in the cup.",
    ),
    (
        "The east wing was finished before the west wing.",
        "The west wing was finished after the east wing.",
        "The west wing was finished before the east wing.",
    ),
    (
        "Ferro Foods supplies the Kallo markets with flour.",
        "The Kallo markets are supplied with flour by Ferro Foods.",
        "The Kallo markets supply Ferro Foods with flour.",
    ),
    (
        "Henrik Dahl preceded Lena Moe as head of the museum.",
        "Lena Moe came after Henrik Dahl as head of the museum.",
        "Lena Moe preceded Henrik Dahl as head of the museum.",
    ),
    (
        "Ida Berg is the teacher of Frida Lund.",
        "Frida Lund is a pupil of Ida Berg.",
        "Frida Lund is the teacher of Ida Berg.",
    ),
    (
        "Prussia declared war on Saxony on 3 May.",
        "War on Saxony was declared by Prussia on 3 May.",
        "Saxony declared war on Prussia on 3 May.",
    ),
    (
        "Dr. Amos Reed examined the patient Nils Berg on Monday.",
        "The patient Nils Berg was examined on Monday by Dr. Amos Reed.",
        "Nils Berg examined the patient Dr. Amos Reed on Monday.",
    ),
    (
        "Leon Katz dedicated the sonata to Olga Brandt.",
        "The sonata was dedicated to Olga Brandt by Leon Katz.",
        "Olga Brandt dedicated the sonata to Leon Katz.",
    ),
    (
        "The monk copied the map of the sailor.",
        "The map of the sailor was copied by the monk.",
        "The sailor copied the map of the monk.",
    ),
    (
        "France recognised Texas before Britain did.",
        "Britain recognised Texas after France.",
        "Texas recognised France before Britain did.",
    ),
    (
        "Oxley Steel sued Brandt Motors over a patent in 2011.",
        "In 2011 Brandt Motors was sued by Oxley Steel.",
        "Brandt Motors sued Oxley Steel over a patent in 2011.",
    ),
    (
        "The first edition sold fewer copies than the second edition.",
        "The second edition sold more copies than the first.",
        "The second edition sold fewer copies than the first edition.",
    ),
    (
        "David Shaw lent his violin to Emma Stein.",
        "Emma Stein borrowed the violin of David Shaw.",
        "Emma Stein lent her violin to David Shaw.",
    ),
    (
        "Lucas Hahn assisted the surgeon Vera Blau.",
        "The surgeon Vera Blau was assisted by Lucas Hahn.",
        "The surgeon Vera Blau assisted Lucas Hahn.",
    ),
    (
        "The general Marcus Vell defeated Otto Rann at the river in 912.",
        "Otto Rann lost to Marcus Vell at the river in 912.",
        "Otto Rann defeated the general Marcus Vell at the river in 912.",
    ),
    (
        "Ships from Tarsa carried wine to Melos and brought back oil.",
        "Wine was carried from Tarsa to Melos, and oil brought back.",
        "Ships from Melos carried wine to Tarsa and brought back oil.",
    ),
    (
        "The steamer Rhea rammed the barge Tilda.",
        "The barge Tilda was rammed by the steamer Rhea.",
        "The barge Tilda rammed the steamer Rhea.",
    ),
    (
        "Canada exports more to Mexico than Mexico exports to Canada.",
        "Canada's exports to Mexico exceed those of Mexico to Canada.",
        "Mexico exports more to Canada than Canada exports to Mexico.",
    ),
    (
        "The left bank lies higher than the right bank.",
        "The right bank lies lower than the left bank.",
        "The right bank lies higher than the left bank.",
    ),
    (
        "The red mill is older than the blue mill.",
        "The blue mill is younger than the red mill.",
        "The blue mill is older than the red mill.",
    ),
    (
        "Tenants pay the landlord a deposit of two rents.",
        "A deposit of two rents is paid to the landlord by tenants.",
        "The landlord pays tenants a deposit of two rents.",
    ),
    (
        "Robert Quill painted a portrait of Sarah Dunn.",
        "A portrait of Sarah Dunn was painted by Robert Quill.",
        "Sarah Dunn painted a portrait of Robert Quill.",
    ),
    (
        "Cassius persuaded Brutus to join the plot.",
        "Brutus was persuaded by Cassius to join the plot.",
        "Brutus persuaded Cassius to join the plot.",
    ),
    (
        "The king of Ardia attacked the queen of Belmar.",
        "The queen of Belmar was attacked by the king of Ardia.",
        "The king of Belmar attacked the queen of Ardia.",
    ),
    (
        "The eastern route is longer than the western route.",
        "The western route is shorter than the eastern one.",
        "The western route is longer than the eastern route.",
    ),
]

# the same both ways, or told from another side
SAME = [
    ("Anna Kerr married Paul Orth in 1911.", "Paul Orth married Anna Kerr in 1911."),
    ("Nora Vale met Iris Quinn in Lund.", "Iris Quinn met Nora Vale in Lund."),
    ("Bolivia borders Chile.", "Chile borders Bolivia."),
    ("Marn is the capital of Kesh.", "The capital of Kesh is Marn."),
    ("Kesh's capital is Marn.", "Marn is the capital of Kesh."),
    ("The treaty was signed by Drost and Karst.", "Karst and Drost signed the treaty."),
    ("Oats, barley and wheat grow there.", "Wheat, barley and oats grow there."),
    ("Smoking is associated with cancer.", "Cancer is associated with smoking."),
    ("The expression of genes in neurons is low.", "Neuronal gene expression is low."),
    ("The inhibition of growth by the drug was strong.", "The drug's growth inhibition was strong."),
    ("Tobias Grange, who founded Velmar College, died in 1871.", "Velmar College was founded by Tobias Grange."),
    ("Velmar College, which Tobias Grange founded, closed in 1871.", "Tobias Grange founded Velmar College."),
    ("The founder of Velmar College was Tobias Grange.", "Tobias Grange was the founder of Velmar College."),
    ("When Smith resigned, Jones took office.", "Jones took office when Smith resigned."),
    ("Because the dam broke, the town was flooded.", "The town was flooded because the dam broke."),
    ("Ruth Abel sent Jonas Field a letter.", "Ruth Abel sent a letter to Jonas Field."),
    ("In Paris the sculptor Kahn worked with Moreau.", "The sculptor Kahn worked with Moreau in Paris."),
    ("The engineer Lea Sachs is the sister of Kurt Sachs.", "Kurt Sachs is the brother of the engineer Lea Sachs."),
    ("Iron is more common than copper.", "Copper is less common than iron."),
    ("Porto is a rival of Lisbon.", "Lisbon is a rival of Porto."),
    ("The war between Drost and Karst began in 1702.", "In 1702 the war between Karst and Drost began."),
    ("The distance from Lund to Porto is 3,000 km.", "From Porto to Lund the distance is 3,000 km."),
    ("Lake Aro is near Lake Bero.", "Lake Bero is near Lake Aro."),
    (
        "Hugo Stark, a student of Emmy Lorenz, proved the theorem.",
        "Emmy Lorenz's student Hugo Stark proved the theorem.",
    ),
    ("The film, directed by Jan Teller, stars Mia Lang.", "Mia Lang stars in the film directed by Jan Teller."),
    ("Mia Lang stars in a film of Jan Teller.", "Jan Teller's film stars Mia Lang."),
    ("The album was released by Alto Records on 3 May 1999.", "On 3 May 1999 Alto Records released the album."),
    ("To the north of the castle stands a chapel.", "A chapel stands to the north of the castle."),
    ("The castle lies south of the chapel.", "The chapel lies north of the castle."),
    ("Gold was found by miners in the hills.", "In the hills miners found gold."),
    ("Under King Alard, the city of Marn grew rich.", "The city of Marn grew rich under King Alard."),
    ("Lisbon has more people than Porto.", "Porto has fewer people than Lisbon."),
    ("Only the council can elect the mayor.", "The mayor can be elected only by the council."),
    ("The mayor whom the council elected was Simon Petit.", "The council elected Simon Petit mayor."),
    ("Vitamin D deficiency causes rickets in children.", "In children, rickets is caused by vitamin D deficiency."),
    ("The composer of the opera was Karl Faber.", "Karl Faber was the composer of the opera."),
    ("Karl Faber's opera was staged in Siena in 1820.", "In 1820 Siena staged the opera of Karl Faber."),
    ("Among the pupils of Ida Berg was Frida Lund.", "Frida Lund was among the pupils of Ida Berg."),
    ("The novel by Igor Belov was filmed by Marta Ferri.", "Marta Ferri filmed Igor Belov's novel."),
    ("The poet Emil Tropp fought alongside Karl Faber.", "Karl Faber fought alongside the poet Emil Tropp."),
    ("The senate opposed the governor and backed the mayor.", "The senate backed the mayor and opposed the governor."),
    ("Denmark drew with Norway in the final.", "Norway drew with Denmark in the final."),
    ("Protein X interacts with protein Y.", "Protein Y interacts with protein X."),
    ("Water consists of hydrogen and oxygen.", "Hydrogen and oxygen make up water."),
    ("The Normans, led by William, beat Harold.", "Harold was beaten by the Normans led by William."),
    ("The prize was given to Nils Berg by the academy.", "The academy gave Nils Berg the prize."),
    ("Kate Bloom and Tom Rees wrote and directed the play.", "Tom Rees and Kate Bloom directed and wrote the play."),
    ("Sella is twinned with Dorn.", "Dorn is twinned with Sella."),
    (
        "The bank of the river is steeper in the east than in the west.",
        "In the west the bank of the river is less steep than in the east.",
    ),
    ("Father and son Peter and Erik Holm built the hall.", "The hall was built by Erik Holm and his father Peter."),
]


def named(claim: str) -> list:
    return [one for one in anchors(claim) if one.kind == "name"]


@pytest.mark.parametrize(("said", "true", "false"), TOLD)
def test_exchanged_roles_are_told_from_a_paraphrase(said, true, false):
    assert exchanged(false, [said])
    assert exchanged(true, [said]) == ()
    assert exchanged(said, [said]) == ()


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_the_same_is_left_alone(one, other):
    assert exchanged(one, [other]) == ()
    assert exchanged(other, [one]) == ()


def test_the_words_are_shown_as_they_stand_in_the_claim():
    assert exchanged("In the end Jones sued Smith.", ["In the end Smith sued Jones."]) == ("Jones", "Smith")
    assert set(exchanged("The mill was built after the inn.", ["The mill was built before the inn."])) == {
        "mill",
        "inn",
    }


def test_an_owner_is_no_noun_of_what_it_owns():
    said = ["At the court Ann Hart's tutor was Bo Lind."]
    assert exchanged("Bo Lind was the tutor of Ann Hart at the court.", said) == ()
    assert exchanged("Ann Hart was the tutor of Bo Lind at the court.", said)


def test_a_sentence_that_says_it_as_the_claim_does_counts():
    claim, other = "In the cup Arden beat Bexley.", "In the cup Bexley beat Arden."
    assert exchanged(claim, [other])
    assert exchanged(claim, [other, "Then Arden beat Bexley in the replay."]) == ()


def test_a_sentence_on_another_matter_tells_nothing():
    claim = "Smith sued Jones over the patent of a lamp that his brother had drawn."
    assert exchanged(claim, ["The year after, Jones sued Smith."]) == ()


def test_a_pronoun_is_what_opened_the_sentence_before():
    said = ["Alan Smith was a lawyer of the town.", "He succeeded Brian Jones as mayor."]
    claim = "Brian Jones succeeded Alan Smith as mayor of the town."
    assert resolved(said) == ["Alan Smith succeeded Brian Jones as mayor."]
    assert exchanged(claim, [*said, *resolved(said)])
    assert exchanged("Alan Smith succeeded Brian Jones as mayor.", [*said, *resolved(said)]) == ()
    assert resolved(["He fell.", "It."]) == []


def test_other_languages_are_left_alone():
    assert exchanged("Den Mann biss der Hund.", ["Der Hund biss den Mann."]) == ()
    assert not is_english(["Der Hund biss den Mann.", "De hond van het dorp is oud."])
    assert is_english(["The dog bit the man."])
    assert not is_english(
        ["Con la than mot ong hai ba bon nam sau bay tam chin muoi nguoi nha cua song nui bien troi dat"]
    )
    assert exchanged("", []) == exchanged("The mill.", ["", "The mill."]) == ()


@pytest.mark.parametrize(
    ("claim", "said", "same"),
    [
        ("Denmark beat Norway in the final.", "Norway lost to Denmark in the final.", True),
        ("The castle lies south of the chapel.", "The chapel lies north of the castle.", True),
        ("The red mill is older than the blue one.", "The blue mill is younger than the red one.", True),
        ("Denmark lost to Norway in the final.", "Norway lost to Denmark in the final.", False),
        ("The castle lies south of the chapel.", "The castle lies north of the chapel.", False),
        ("Denmark won the cup.", "Denmark lost the cup.", False),
    ],
)
def test_opposite_words_may_say_the_same(claim, said, same):
    assert bool(told_conversely(claim, said)) == same


def test_a_relation_is_one_in_active_and_passive():
    texts = ("Ann Hart founded Velmar College.", "Velmar College was founded by Ann Hart.")
    found = [{one.sides for one in relations(Sentence.of(text), {"ann", "found", "velmar"})} for text in texts]
    assert found == [{("found", "ann", "velmar")}] * 2


def test_the_forms_of_a_word_share_a_key():
    assert len({key_of(word) for word in ("write", "wrote", "written", "writes")}) == 1
    assert len({key_of(word) for word in ("supply", "supplies", "supplied")}) == 1
    assert len({key_of(word) for word in ("stop", "stopped", "stopping")}) == 1


MADE = ["In that year the film was made in Osaka by Daiei.", "Toho, its rival, showed a play of its own."]


@pytest.mark.parametrize(
    ("claim", "said", "heading", "name"),
    [
        ("In that year the film was made in Osaka by Toho.", MADE, "", "Toho"),
        ("In that year the film was made in Osaka by Daiei.", MADE, "", ""),
        ("In that year the film was made in Osaka by Toho.", MADE, "Toho", ""),
        ("In that year the film was made in Osaka by Toho.", [*MADE, "Toho was once Daiei."], "", ""),
        ("In that year the film was made in Osaka by Shochiku.", MADE, "", ""),
        ("The film that Toho made was long.", MADE, "", ""),
        ("In that year the film was made in Osaka by Toho.", [], "", ""),
    ],
    ids=["another's", "its own", "of the heading", "one thing", "nowhere", "in other words", "no text"],
)
def test_a_name_in_the_place_of_another(claim, said, heading, name):
    assert misplaced(named(claim), claim, said, heading) == name


def check(claim: str, text: str) -> Verdict:
    return Verifier().check(claim, [Passage(Span("d", 0, len(text)), text)])


def test_the_verdict_says_what_is_exchanged():
    text = "After a long trial Oxley Steel sued Brandt Motors over the patent. Both are of the same town."
    right = check("Oxley Steel sued Brandt Motors over the patent.", text)
    wrong = check("Brandt Motors sued Oxley Steel over the patent.", text)
    assert (right.label, right.exchanged, right.lacking) == ("supported", (), "")
    assert (wrong.label, len(wrong.exchanged), wrong.missing) == ("contradicted", 2, ())
    assert wrong.score < right.score / 2
    assert wrong.lacking.startswith("the other way round in the source: ")


def test_the_verdict_names_what_is_told_of_another():
    wrong = check("In that year the film was made in Osaka by Toho.", " ".join(MADE))
    assert (wrong.label, wrong.misplaced) == ("partly", "Toho")
    assert wrong.lacking == "the source says that of another: Toho"


def test_what_is_told_conversely_is_supported():
    assert (
        check("Denmark won against Norway in the final.", "In the final, Norway lost to Denmark.").label == "supported"
    )
    assert check("The castle lies south of the chapel.", "The chapel lies north of the castle.").label == "supported"


def test_a_stored_verdict_is_read_again():
    verdict = check("Brandt Motors sued Oxley Steel in the town.", "Oxley Steel sued Brandt Motors in the town.")
    row = Claim(text="x", evidence=(), verdict=verdict).to_row()["verdict"]
    assert Verdict.from_row({**row, "exchanged": list(row["exchanged"])}) == verdict
    for name in ("exchanged", "misplaced"):
        del row[name]  # of an older version
    assert Verdict.from_row(row).exchanged == ()


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        ("Brandt sued Oxley and Oxley sued Brandt.", ["Oxley sued Brandt and Brandt sued Oxley."]),
        ("The road from Lund to Ystad is closed.", ["The road from Ystad to Lund is closed."]),
        ("Brandt faced Oxley in the final.", ["Oxley faced Brandt in the final."]),
        ("Brandt acts opposite Oxley in the play.", ["Oxley acts opposite Brandt in the play."]),
        ("In the end Oxley never sued Brandt.", ["In the end Brandt sued Oxley."]),
        ("Marn is older than any other city.", ["No city is older than Marn."]),
        ("In the end Oxley sued Brandt.", ["In the end Brandt sued Oxley.", "In that year Oxley sued him."]),
        ("The praise of the teacher by the student was loud.", ["The student's praise of the teacher was loud."]),
        ("A mirror of old glass hangs above the door.", ["Above the door hangs a mirror of old glass."]),
        ("In Lund it was sold in red and in Ystad in blue.", ["It was sold in blue in Ystad and in red in Lund."]),
        ("Exports to Kesh fell more sharply than those to Marn.", ["Exports to Marn fell less sharply than to Kesh."]),
    ],
)
def test_what_may_hold_both_ways_is_no_exchange(claim, said):
    assert exchanged(claim, said) == ()


def test_a_noun_of_a_later_clause_is_no_side():
    said = "Queen Ida was the mother of King Olaf and the daughter of King Erik."
    claim = "King Erik was the father of Queen Ida, whose son was King Olaf."
    assert exchanged(claim, [said]) == exchanged(said, [claim]) == ()


def test_a_list_without_stops_is_not_read():
    row = "the mill was sold by the inn "
    assert list(relations(Sentence.of(row), {"mill", "inn", "sell"}))
    assert list(relations(Sentence.of(row * 50), {"mill", "inn", "sell"})) == []


def test_a_pronoun_is_of_its_own_text():
    assert resolved(["After Jones the town was poor.", "He fell."]) == []
    texts = ("Alan Smith was a lawyer of the town.", "He sued Carl Brown in the spring of that year.")
    cited = [Passage(Span(f"d{at}", 0, len(text)), text) for at, text in enumerate(texts)]
    claim = "Carl Brown sued Alan Smith in the spring of that year."
    assert Verifier().check(claim, cited).exchanged == ()
    assert check(claim, " ".join(texts)).exchanged


@pytest.mark.parametrize(
    ("claim", "said"),
    [
        (
            "The Queen visited the town of Lund in May with her son.",
            ["Elizabeth visited the town of Lund in May with her son.", "In the evening the Queen left."],
        ),
        (
            "In France the share of women in boards is 40 percent.",
            ["In Germany the share of women in boards is 30 percent.", "France reaches 40 percent."],
        ),
    ],
    ids=["title", "of two sentences"],
)
def test_a_name_that_may_be_the_same_is_not_misplaced(claim, said):
    assert misplaced(named(claim), claim, said) == ""


# -- what a source tells in both directions ---------------------------------------------------------------------------

BOTH = [
    "Oxley Steel sued Brandt Motors in the spring of 2001, and Brandt Motors sued Oxley Steel in the autumn of 2003.",
    "In the spring of 2001 Oxley Steel sued Brandt Motors; in the autumn of 2003 Brandt Motors sued Oxley Steel.",
    "After Oxley Steel sued Brandt Motors in the spring of 2001, Brandt Motors sued Oxley Steel in the autumn of 2003.",
    "Oxley Steel sued Brandt Motors in the spring of 2001. Brandt Motors sued Oxley Steel in the autumn of 2003.",
    "Oxley Steel sued Brandt Motors in the spring of 2001 and was sued by Brandt Motors in the autumn of 2003.",
]
FIRST, SECOND = (
    "Oxley Steel sued Brandt Motors in the spring of 2001",
    "Brandt Motors sued Oxley Steel in the autumn of 2003",
)


@pytest.mark.parametrize("text", BOTH, ids=["and", "front", "after", "two", "passive"])
@pytest.mark.parametrize(
    "claim",
    [
        f"{FIRST}.",
        f"{SECOND}.",
        "Oxley Steel was sued by Brandt Motors in the autumn of 2003.",
        "Brandt Motors sued Oxley Steel in the end.",
        f"{SECOND}, and {FIRST}.",
        f"{SECOND} after {FIRST}.",
        f"{FIRST} before {SECOND}.",
        f"Before {SECOND}, {FIRST}.",
        f"{SECOND}, but earlier {FIRST}.",
    ],
)
def test_what_is_told_in_both_directions_may_be_claimed_in_each(text, claim):
    verdict = check(claim, text)
    assert (verdict.label, verdict.exchanged) == ("supported", ())


@pytest.mark.parametrize("text", BOTH[:4], ids=["and", "front", "after", "two"])
@pytest.mark.parametrize(
    "claim",
    [
        "Oxley Steel sued Brandt Motors in the autumn of 2003.",
        "Brandt Motors sued Oxley Steel in the spring of 2001.",
        "Brandt Motors was sued by Oxley Steel in the autumn of 2003.",
    ],
)
def test_the_date_of_the_other_direction_contradicts(text, claim):
    verdict = check(claim, text)
    assert (verdict.label, len(verdict.exchanged)) == ("contradicted", 2)


@pytest.mark.parametrize(
    ("claim", "text", "contradicted"),
    [
        (
            "The Danes defeated the Swedes at Landskrona.",
            "The Danes defeated the Swedes at Lund, but the Swedes defeated the Danes at Landskrona.",
            True,
        ),
        (
            "Canada exports 70 tonnes of oats to Mexico.",
            "Canada exports 40 tonnes of oats to Mexico, while Mexico exports 70 tonnes of oats to Canada.",
            True,
        ),
        (
            "In 1905 the Danes beat the Swedes.",
            "In 1905 the Swedes beat the Danes, and the Danes beat the Swedes.",
            False,
        ),
        (
            "Jones succeeded Smith as mayor of the town.",
            "Smith succeeded Jones as mayor of the town in 1901, and Jones succeeded Smith in 1905.",
            False,
        ),
        (
            "The Swedes sold land to the Danes in the spring of 2001.",
            "The Danes bought land from the Swedes in the spring of 2001; the Swedes bought land from the Danes then.",
            False,
        ),
    ],
    ids=["place", "number", "no date of its own", "left out", "converse"],
)
def test_only_what_distinguishes_both_directions_contradicts(claim, text, contradicted):
    assert bool(check(claim, text).exchanged) is contradicted


def test_the_order_of_both_directions_counts():
    before = "Oxley Steel sued Brandt Motors before Brandt Motors sued Oxley Steel over the lamp."
    assert check(
        "Brandt Motors sued Oxley Steel over the lamp before Oxley Steel sued Brandt Motors.", before
    ).exchanged
    assert check("After Brandt Motors sued Oxley Steel over the lamp, Oxley Steel sued it.", before).exchanged == ()
    assert check(f"{FIRST} after {SECOND}.", BOTH[0]).exchanged == ()  # the source has no order in words


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("In the final Brandt beat Oxley.", "In the final Oxley beat Brandt, and vice versa."),
        ("The Danes lost to the Swedes in the cup.", "The Danes and the Swedes won against each other in the cup."),
        ("The Swedes taught the Danes in the end.", "In the end the Danes taught the Swedes, but were taught by them."),
        ("The Swedes taught the Danes in the end.", "In the end the Danes taught the Swedes, and conversely."),
        ("The Swedes harmed the Danes in the war.", "In the war the Danes harmed the Swedes, all mutually harmed."),
    ],
)
def test_both_directions_may_be_told_in_few_words(claim, text):
    assert check(claim, text).label == "supported"


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("Mora beat Haas in the final.", "Conversely, Haas beat Mora in the final of the cup."),
        ("Mora beat Haas in the final.", "In the final, and conversely to what was said, Haas beat Mora."),
        ("Mora sued Haas over the deal.", "After the mutually signed deal Haas sued Mora over the deal."),
        ("Mora sued Haas over the lamp.", "It was Haas that sued Mora over the lamp rather than vice versa."),
        ("Mora sued Haas over the lamp.", "Haas sued Mora over the lamp instead of the other way round."),
        (
            "Mora sued Haas over the patent in 2001.",
            "Haas sued Mora over the patent in 2001. In 2009 Mora sued Haas over the rent.",
        ),
        (
            "Haas lost to Mora in the final in Graz.",
            "Haas defeated Mora in the final in Graz. A year earlier Mora had defeated Haas in Linz.",
        ),
    ],
)
def test_words_that_look_mutual_and_other_matters_do_not_tell_both_directions(claim, text):
    verdict = check(claim, text)
    assert (verdict.label, len(verdict.exchanged)) == ("contradicted", 2)


def test_each_other_is_said_of_its_own_verb():
    text = "The two had known each other for a year when Oxley sued Brandt over the lamp."
    assert check("Brandt sued Oxley over the lamp after a year.", text).exchanged


@pytest.mark.parametrize(
    ("claim", "said", "words"),
    [
        ("Norway lost to Denmark in the final.", "Denmark beat Norway in the final.", {"lost"}),
        (
            "The copper is less common than the iron.",
            "The iron is more common than the copper.",
            {"less", "common", "than"},
        ),
        (f"{FIRST} before {SECOND}.", f"After {FIRST}, {SECOND}.", {"before"}),
        (f"{FIRST} before {SECOND}.", f"Before {FIRST}, {SECOND}.", set()),
    ],
)
def test_the_words_that_tell_the_same_from_the_other_side(claim, said, words):
    assert told_conversely(claim, said) == words


def test_opposites_beside_a_relation_told_conversely_still_count():
    said = "The price of oats increased when Denmark beat Norway in the final."
    assert not opposed("The price of oats increased when Norway lost to Denmark in the final.", said)
    assert opposed("The price of oats decreased when Norway lost to Denmark in the final.", said)
