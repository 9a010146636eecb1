"""Numbers, dates and names in their several forms: what is held, and what is not."""

from __future__ import annotations

import time

import pytest

from foveal.research import checks
from foveal.research.anchors import Held, anchors, missing
from foveal.research.checks import contradicts, missing_of
from foveal.research.quantities import numbers, rivals


def lost(claim: str, text: str) -> list[str]:
    return [one.text for one in missing(anchors(claim), Held.of(text))]


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("It has 1,200 rooms.", "There are 1200 rooms."),
        ("It has 1200 rooms.", "Twelve hundred rooms."),
        ("It has twelve rooms.", "It has 12 rooms."),
        ("It cost 3.5 billion dollars.", "It cost $3.5bn."),
        ("It cost $5 million.", "A price of $5m."),
        ("It cost €1.2b.", "It cost 1.2 billion euros."),
        ("It began in the ’80s.", "In 1980 it began."),
        ("It blocks IL 2 and interleukin 2.", "IL-2 was blocked."),
        ("It has COVID-19 beds.", "Beds for COVID 19."),
        ("It was 5-7 % in the USA.", "USA: 5–7 %."),
        ("It was −0.3 % in all.", "It shrank by 0.3 %."),
        ("It fell by 5 %.", "The change was −5 %."),
        ("It was −5 °C.", "It was 5 °C below zero."),
        ("It was -5 °C.", "A night of −5 °C."),
        ("It weighs 5-7 kg.", "It weighs 5 −7 kg."),
        ("It has COVID-19 beds.", "COVID -19 beds."),
        ("About 1.2 million came.", "1,204,500 came."),
        ("It grew by 12 %.", "A growth of 12 percent."),
        ("It opened on 5 March 2021.", "Opened 2021-03-05."),
        ("It opened on March 5, 2021.", "On 05.03.2021 it opened."),
        ("It opened in March 2021.", "It opened on 5 March 2021."),
        ("It opened in 2021.", "It opened on 5 March 2021."),
        ("It stood from 1913 to 1916.", "It stood 1913–16."),
        ("It began in the 1970s.", "In 1970 it began."),
        ("It is of the 15th century.", "It is of the fifteenth century."),
        ("约有1.2万人。", "居民12,040人。"),
        ("它建于2021年3月。", "Opened on 5 March 2021."),
        ("We know that Marie Curie won.", "Curie won."),
        ("We saw Zürich.", "A day in Zurich."),
        ("It was the German army.", "Germany sent its army."),
        ("It was the French army.", "France sent its army."),
        ("It is run by UNESCO.", "The United Nations Educational, Scientific and Cultural Organization runs it."),
        ("Then Ada Hart’s mill burnt.", "The mill of Ada Hart."),
    ],
)
def test_one_thing_in_two_forms_is_held(claim, text):
    assert anchors(claim)
    assert lost(claim, text) == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Es gab 1.200 Besucher und 3,5 Prozent mehr als 2019.", [1200, 3.5, 2019]),
        ("Das kostet 1.200,50 Euro, nicht 12.50 Euro.", [1200.5, 12.5]),
        ("Die Stadt hat 3.700.000 Einwohner; 0.125 davon kamen.", [3_700_000, 0.125]),
        ("Il y avait 1\u202f200,5 tonnes dans le port.", [1200.5]),
        ("Había 12.500 personas en la plaza.", [12_500]),
        ("Insgesamt 1.234.567,8 kg", [1_234_567.8]),
        ("The dose was 1.200 mg, and 1,200 came.", [1.2, 1200]),
        ("A share of 0.125 was lost in 1,5 and 2.", [0.125, 1, 5, 2]),
        ("1.200 rooms", [1.2]),
        ("Release 1.200.3 is out.", [1.2]),
        ("Goethe wrote that the die was cast: 2.125 lines.", [2.125]),
        ("It has 10 000 people, 10\u00a0000 and 10\u2009000.", [10_000, 10_000, 10_000]),
        ("It was 1 000 000 km, and $12 050.5 of it.", [1_000_000, 12_050.5]),
        ("La ville compte 12 300 habitants et plus de 1 200,5 €.", [12_300, 1200.5]),
        ("Rs 1,00,000 were paid, not 1,23,45,678.5 of them.", [100_000, 12_345_678.5]),
        ("In 2019 300 people came, 12 000 in 2020 300 days later.", [2019, 300, 12_000, 2020, 300]),
        ("In ward 12 300 patients, of COVID-19 100 more.", [12, 300, 19, 100]),
        ("La liste est: Lyon 120 345 678\nParis 2019 300 et COVID-19 300 cas.", [120, 345, 678, 2019, 300, 19, 300]),
        ("The rooms were 1, 20, 300 and 1,20,300,4.", [1, 20, 300, 1, 20_300, 4]),
    ],
)
def test_points_commas_and_blanks_are_read_as_the_text_writes_them(text, values):
    assert [one.value for one in anchors(text) if one.kind == "number"] == values


def test_a_claim_is_held_by_a_number_of_another_language():
    assert lost("It had 1,200 visitors.", "Es hatte 1.200 Besucher im Jahr.") == []
    assert lost("It had 1.2 visitors.", "Es hatte 1.200 Besucher im Jahr.") == ["1.2"]
    assert lost("Es gab 3,5 kg und 1.200 Besucher.", "There were 3.5 kg for the 1,200 visitors.") == ["Besucher"]


@pytest.mark.parametrize(
    ("claim", "text", "held", "rival"),
    [
        ("The peak is 3,125 m high.", "Der Gipfel ist 3,125 m hoch.", False, True),
        ("The peak is 3.125 m high.", "Der Gipfel ist 3,125 m hoch.", True, False),
        ("Der Gipfel ist 3,125 m hoch.", "The peak is 3,125 m high.", False, True),
        ("The peak is 3125 m high.", "Höhe: 3,125 m", False, False),  # nothing tells which of both it is
        ("The peak is 3.125 m high.", "Höhe: 3,125 m", False, False),
        ("The peak is 3126 m high.", "Höhe: 3,125 m", False, True),  # it is neither
        ("The peak is three thousand m high.", "Höhe: 3,000 m", False, False),
        ("The peak is 3.125 m high.", "Höhe: 3,125 m, Breite: 2,5 m", True, False),  # other numbers tell
        ("The peak is 3125 m high.", "Höhe: 3,125 m, Breite: 2,5 m", False, True),
        ("The peak is 3125 m high.", "Height: 3,125 m, width: 2.5 m", True, False),
        ("The peak is 1,234,567 m high.", "Height: 1,234,567 m", True, False),
        ("Höhe 3,125 m", "Höhe: 3,125 m", True, False),
        ("Höhe 3,125 m", "The peak is 3125 m high.", True, False),  # it speaks of that text, and as that does
        ("Höhe 3,125 m", "Der Gipfel ist 3125 m hoch.", False, False),
        ("The peak is 3.125 m high.", "Высота 3,125 m", True, False),
        ("The peak is 3125 m high.", "山高3,125 m", True, False),
        ("Höhe 3,125 m", "Höhe: 3125 m", False, False),
        ("The share is 0.125.", "Anteil: 0,125", True, False),
    ],
)
def test_a_number_that_may_be_two_is_never_borne_out_where_nothing_tells_which_it_is(claim, text, held, rival):
    said, found = anchors(claim), Held.of(text)
    missed = [one for one in missing(said, found) if one.kind == "number"]
    assert (missed == [], rivals(missed, found.found, said)) == (held, rival)
    by_words = not any(one[0].isdigit() for one in missing_of(claim, text))
    assert by_words == (held or "three" in claim)


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("The arena has 12,500 places.", "Arena | 12,500 | Berlin"),
        ("The arena has 12,500 places.", "Arena 12,500\nDome 8,200\nHall 3,100"),
        ("The arena has about 12,000 seats.", "Arena\nSeats: 12,345\nOpened: 1998"),
        ("The arena has 12500 seats.", "Seats: 12,500"),
        ("The peak is 3,125 m high.", "Gipfel: 3,125 m"),  # as it stands there
        ("The release is 3.125.", "Release 3.125"),
        ("The precision is 92.125 percent.", "Precision: 92.125 %"),
        ("The server is 192.168.100.200.", "Server: 192.168.100.200"),
        ("The price is 1234 dollars.", "Model X | $1,234 | Berlin"),
        ("The classes are 0, 1 and 2 of 12500.", "Labels: 0,1,2; each 12,500"),
        ("It was 35 in 2020.", "2020,35\n2021,41"),
        ("The oblast has 12500 people.", "Moscow Oblast (Москва): population 12,500"),
        ("The hall has 12500 chairs.", "Town hall (Москва): 12,500; first hall 2.5"),
    ],
)
def test_a_number_of_a_table_without_small_words_is_held(claim, text):
    said, found = anchors(claim), Held.of(text)
    missed = [one for one in missing(said, found) if one.kind == "number"]
    assert (missed, rivals(missed, found.found, said)) == ([], False)


def test_a_number_that_a_table_may_hold_is_not_contradicted_by_the_others_of_it():
    found = Held.of("Arena 12,500\nDome 8,200")
    for claim, rival in [("Arena has 12500 places.", False), ("Arena has 12700 places.", True)]:
        lost = [one for one in missing(anchors(claim), found) if one.kind == "number"]
        assert len(lost) == 1
        assert rivals(lost, found.found, anchors(claim)) == rival


def test_a_sentence_of_many_numbers_is_looked_at_in_one_go(monkeypatch):
    looked = []
    monkeypatch.setattr(checks, "decimal_comma", lambda text: looked.append(text))
    contradicts("It is 1, 2 and 3.", "It is 4, 5 and 6.", of="a table")
    assert looked == ["It is 1, 2 and 3.", "a table"]


@pytest.mark.parametrize(
    ("claim", "text", "what"),
    [
        ("It has 1,200 rooms.", "It has 1,300 rooms.", ["1,200"]),
        ("It weighs 5 kg.", "It is 5 miles long.", ["5 kg"]),
        ("It is 5 metres high.", "It is 105 metres high.", ["5 metres"]),
        ("It took 20 minutes.", "It was built in 1920.", ["20 minutes"]),
        ("It cost $5m.", "It cost $5.", ["$5m"]),
        ("It was −5 °C.", "It was 5 °C at noon.", ["5 °C"]),
        ("Growth was 0.3 %.", "Growth was -0.3 %.", ["0.3 %"]),
        ("It opened on 5 March 2021.", "It opened in March 2021.", ["5 March 2021"]),
        ("It opened in March 2021.", "It opened in May 2021.", ["March 2021"]),
        ("It opened in 1982.", "It opened in 1980.", ["1982"]),
        ("We know that Marie Curie won.", "Pierre Curtis won.", ["Marie Curie"]),
        ("We know that Paul Newman won.", "Paul Oldman won.", ["Paul Newman"]),
        ("It was the Austrian army.", "Australia sent its army.", ["Austrian"]),
        ("It is run by UNESCO.", "The European Union runs it.", ["UNESCO"]),
        ("About 1.2 million came.", "1,290,000 came.", ["1.2 million"]),
        ("It slows T cells in 3 mice.", "It slows CD4+3− T cells in mice.", ["3"]),
        ("It was two days.", "IL-2 rose for days.", ["two"]),
        ("It was in 19 towns.", "COVID-19 came to towns.", ["19"]),
    ],
)
def test_another_number_date_or_name_is_lost(claim, text, what):
    assert lost(claim, text) == what


def test_a_word_that_opens_a_sentence_is_no_name_by_itself():
    assert [one.text for one in anchors("However big, Researchers saw it. Paris is far. They met Ada Hart.")] == [
        "Researchers", "Paris", "Ada Hart",
    ]  # fmt: skip
    assert [one.text for one in anchors("Researchers saw it. The end.")] == []


def test_every_anchor_stands_where_it_says():
    text = "On 5 March 2021 UNESCO gave 1.2 million euros to the University of Graz, 12 % more than in 1999."
    found = anchors(text)
    assert [text[one.start : one.end] for one in found] == [one.text for one in found]
    assert [one.kind for one in found] == ["date", "name", "number", "name", "number", "number"]
    assert anchors("") == []


def test_a_rival_is_a_number_of_the_same_kind_in_the_place():
    claim, held = anchors("It opened in 1982 with 5 kg."), anchors("It opened in 1980.")
    assert rivals(missing(claim, Held.of("It opened in 1980.")), held, claim)
    assert not rivals(missing(claim, Held.of("It has 12 doors.")), anchors("It has 12 doors."), claim)


def test_the_long_s_of_old_prints_is_an_s():
    found = [
        (one.kind, one.date, one.value, one.unit) for one in anchors("On 5 Auguſt 1780 it took about five ſeconds.")
    ]
    assert found == [("date", (1780, 8, 5), 0.0, ""), ("number", (0, 0, 0), 5.0, "second")]
    assert [one.unit for one in anchors("It took 7 ſeconds.")] == ["second"]


@pytest.mark.parametrize(
    ("claim", "text", "held"),
    [
        ("It takes 600 ms.", "It takes 0.6 s.", True),
        ("It takes 0.6 s.", "It takes 600 milliseconds.", True),
        ("500 mg were given.", "0.5 g were given.", True),
        ("5 mg were given.", "5 g were given.", False),
        ("5 micrograms were given.", "5 mg were given.", False),
        ("5 µg were given.", "5 \u03bcg were given.", True),
        ("It was 30 ng/ml.", "It was 30 µg/l.", True),
        ("It was 30 ng/ml.", "It was 30 nmol/l.", False),
        ("It was 30 ng/ml.", "It was 30 ng per ml.", True),
        ("5 mg/day were given.", "5 mg were given daily.", True),
        ("5 mg/day were given.", "5 mg/kg were given.", False),
        ("It runs at 3 GHz.", "It runs at 3000 MHz.", True),
        ("It lasted two weeks.", "It lasted 14 days.", True),
        ("It lasted 24 hours.", "It lasted a day and a half, 36 hours.", False),
        ("It weighs 1.5 tonnes.", "It weighs 1,500 kg.", True),
        ("It is about 2 GB.", "It is 2048 MB.", True),
        ("It fell by 20 percent.", "It fell by 20 percentage points.", False),
        ("It is 12 km.", "It is 12 miles.", False),
    ],
)
def test_amounts_are_compared_in_one_unit(claim, text, held):
    assert [one.kind for one in missing(anchors(claim), Held.of(text))] == ([] if held else ["number"])


@pytest.mark.parametrize(
    ("claim", "text", "held"),
    [
        ("It cost about 1.3 million euros.", "It cost 1,250,000 euros.", True),  # a half goes up
        ("It cost about 1.2 million euros.", "It cost 1,250,000 euros.", True),  # or to the even digit
        ("It cost about 1.4 million euros.", "It cost 1,250,000 euros.", False),
        ("It is about 3 km wide.", "It is 2.5 km wide.", True),
        ("It is about 4 km wide.", "It is 2.5 km wide.", False),
        ("It is about 10 km wide.", "It is 5.1 km wide.", False),
        ("It fell to -5 °C.", "It fell to 5 °C.", False),  # another level
        ("It fell to -5 °C.", "It fell to 5 °C below zero.", True),
        ("It changed by -5 %.", "It fell by 5 %.", True),
        ("It stood at -5 %.", "It declined and stood at 5 %.", False),
        ("It opened on 5 March 2021.", "It opened on 2021-03-05T10:00.", True),
    ],
)
def test_halves_levels_and_moments(claim, text, held):
    assert (not missing(anchors(claim), Held.of(text))) == held


def test_a_long_table_of_dates_is_read_as_its_rows_are():
    rows = [f"| {1 + number % 28} May {1000 + number % 900} | {number:,} sacks | twelve |\n" for number in range(3000)]
    found = anchors("".join(rows))  # each held against all others, it would take long
    assert len(found) == sum(len(anchors(row)) for row in rows)
    assert [one.text for one in found[:3]] == ["1 May 1000", "0", "twelve"]


@pytest.mark.parametrize("row", ["123 " * 8000, "10," * 8000, "100 " * 8000 + "a", "1 " + "000 " * 8000])
@pytest.mark.parametrize("before", ["", "la ville et le pays "])
def test_a_row_of_a_large_table_is_read_once(row, before):
    """Groups of digits were looked for up to its end from each of them: it took half a minute."""
    begun = time.process_time()
    assert len(numbers(before + row)) > 1000
    missing_of("It has 12 mills.", before + row)
    assert time.process_time() - begun < 8


@pytest.mark.parametrize("written", ["10,000", "10 000", "10\u00a0000", "10\u2009000", "10\u202f000"])
def test_the_check_by_words_reads_groups_of_digits_alike(written):
    assert missing_of("It has 10,000 mills.", f"It has {written} mills.") == ()
    assert missing_of(f"It has {written} mills.", "It has 10,000 mills.") == ()
    assert missing_of("It has 100,000 mills.", "It has 1,00,000 mills.") == ()
    assert missing_of("It has 300 mills.", "In 2019 300 mills were there.") == ()
    assert missing_of("It has 12,300 mills.", "In ward 12 300 mills were there.") == ("12,300",)


def test_words_and_letters_without_end():
    """A letter that is no name, a name, and what looks like the endings of one: each is read once."""
    found = anchors("A " * 100_000 + "Ada Vale came.")
    assert [one.text for one in found] == ["Ada Vale"]
    assert "n" * 200_000 in Held.read("n" * 200_000).words
    assert Held.read("Germans").holds_word("Germany")
