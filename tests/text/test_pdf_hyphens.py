"""Words that lines, columns and pages of a PDF cut: whole, with the hyphens that are theirs."""

import pytest
from fpdf import FPDF

from foveal.text.pdf import read_pdf
from foveal.text.pdf_hyphens import Vocabulary, cut_marked, hyphen, mended
from foveal.text.pdf_lines import joined

LINE = "The fovea is the small part of the retina that sees sharply and the eye turns it."


def whole(page):
    return " ".join(joined([page.replace("|", "\ufffe")])[0].split())


@pytest.mark.parametrize("sign", ["-", "\u2010", "\u00ad"])
@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("con", "taining", "containing"),
        ("Anglo", "Saxon", "Anglo-Saxon"),
        ("well", "known", "well-known"),
        ("Über", "prüfung", "Überprüfung"),
        ("au", "ßen", "außen"),
    ],
)
def test_whatever_sign_ends_the_line(sign, left, right, expected):
    assert joined([f"It was {left}{sign}\r\n{right} of all."])[0].split()[2] == expected


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("A checkpoint. Check|points here", "Checkpoints"),  # another form of it stands elsewhere
        ("It is log-normal. The log|normals here", "log-normals"),
        ("The first well-known man; well|known here", "well-known"),
        ("It was self|determination here", "self-determination"),
        ("It was self|ish here", "selfish"),
        ("Under it he stood; he under|stood here", "understood"),
        ("The t|statistic here", "t-statistic"),
        ("L'é|volution here", "L'évolution"),
        ("The CartPole|v1 here", "CartPole-v1"),
        ("WITHOUT ANY PERFOR|MANCE here", "PERFORMANCE"),
        ("state|of-the-art here", "state-of-the-art"),
        ("read https://example.org/a-long|path/b here", "https://example.org/a-long-path/b"),
        ("read https://example.org/along|path here", "https://example.org/along-path"),
        ("A kind man of ness; kind|ness here", "kindness"),
        ("see why-not|lgpl.html here", "why-not-lgpl.html"),
        ("non-linear, a linear infringing: non|infringing here", "non-infringing"),
        ("pre|and here", "and"),
        ("cut|and-paste here", "cut-and-paste"),
        ("An XML|based here", "XML-based"),
        ("call it with --max|bytes here", "--max-bytes"),
        ("Quand va|t-il here", "va-t-il"),
        ("C'est celui|ci here", "celui-ci"),
        ("elle|même here", "elle-même"),
        ("Das Haupt, der Satz: ein Haupt|satz here", "Hauptsatz"),
        ("the pre- and post-parts; a post. It is pre|sent here", "present"),
    ],
)
def test_what_a_word_is(page, expected):
    said = whole(page).split()
    assert said[said.index("here") - 1] == expected


def test_a_hyphen_that_stands_for_a_part_of_a_word_has_a_blank_behind_it():
    assert whole("pre|and post-processing") == "pre- and post-processing"
    assert whole("Haupt|und Nebensatz") == "Haupt- und Nebensatz"
    assert joined(["It is the Haupt-", "oder Nebensatz"])[0].split()[-3:] == ["Haupt-", "oder", "Nebensatz"]


def test_the_more_frequent_form_is_meant():
    vocabulary = Vocabulary.of(["A black-box, a black-box, one blackbox."])
    assert hyphen("black", "box", vocabulary) == "-"
    assert hyphen("black", "box", Vocabulary.of(["A black-box, two blackbox blackbox."])) == ""


def test_pairs_of_a_chain_are_known():
    counts = Vocabulary.of(["A state-of-the-art eye"]).counts
    assert all(counts[pair] == 1 for pair in ("state-of", "of-the", "the-art"))


def test_a_sign_that_says_where_a_word_may_be_cut_is_left_out():
    assert cut_marked("con\u00adtaining and\nall") == "containing and\nall"


def test_long_runs_are_read_once():
    for page in ("a" * 200_000, "a-" * 100_000, "-a\ufffe" * 50_000, "a\u00ad" * 100_000):
        marked = cut_marked(page)
        assert mended(marked, Vocabulary.of([marked]))
        assert joined([page, page])[0]


@pytest.mark.parametrize("sign", ["-", "\u00ad"])
@pytest.mark.parametrize(
    ("left", "right", "expected"), [("con", "taining", "containing"), ("Anglo", "Saxon", "Anglo-Saxon")]
)
def test_a_word_over_a_pages_end_before_a_note(sign, left, right, expected):
    pdf = FPDF()
    for page, (first, last) in enumerate(
        (("The eye", f"{LINE[:60]} it was {left}{sign}"), (f"{right} of all {LINE}", "The end."))
    ):
        pdf.add_page()
        pdf.set_font("helvetica", size=10)
        lines = [first, *[LINE] * 9, last]
        for n, line in enumerate(lines):
            pdf.text(20, 30 + 5 * n, line)
        pdf.set_font("helvetica", size=7)
        pdf.text(20, 250, f"{page + 1} See the note on light and on the eyes of old men.")
    text = read_pdf(bytes(pdf.output()), name="a.pdf", max_characters=10**6).text
    assert f"it was {expected}" in " ".join(text.split())
