"""Tokens, sentences and paragraphs: exact small cases, and what must hold of any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.text.units import leads_in, paragraphs, sentences, words

TEXTS = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from(
            [
                "Dr. ",
                "A. ",
                "dog ",
                "Dog. ",
                "?",
                "!” ",
                "\n",
                "\n\n",
                " ",
                "3.14 ",
                "1. ",
                "- x\n",
                "漢字。",
                "é",
                "\r\n",
            ]
        )
    ).map("".join),
)


def cut(spans: list[tuple[int, int]], text: str) -> list[str]:
    return [text[start:end] for start, end in spans]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("don't stop", ["don", "'", "t", "stop"]),
        ("naïve café-bar", ["naïve", "café", "-", "bar"]),
        ("你好 world。", ["你", "好", "world", "。"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("a\u3000b\u2003c", ["a", "b", "c"]),
        ("x" * 70, ["x" * 32, "x" * 32, "x" * 6]),
        ("", []),
        (" \n\t", []),
    ],
)
def test_words(text, expected):
    assert cut(words(text), text) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["He came. ", "She went."],
        ["Dr. Smith met J. R. Doe. ", "They spoke."],
        ["It costs 3.14 dollars, e.g. Two coins. ", "Fine!"],
        ["“Really?” she said. ", "“No!” ", "He left."],
        ["See Fig. 3 and Sec. 2. ", "The answer is no. ", "He left."],
        ["He moved to the U.S. Senate. ", "They work for Acme Inc. ", "The firm failed."],
        ["Smith et al. (2019) say so. ", "We agree."],
        ["What?! ", "Wait... ", "It works."],
        ["Come to us. ", "Mai and June are mild."],
        ["你好。", "世界！", "他说：“是的。”", "然后走了。"],
        ["यह एक वाक्य है। ", "दूसरा।"],
        ["It sees.¹ ", "“It does.”²,³ ", "So do we."],
        ["It weighs on humans. ²²–²⁴ ", "Although “so.” ³ ", "It may pass. ", "¹³C was seen.\n", "² A note."],
        ["Notes mark this.¹⁻³ ", "Even more.²,⁴–⁶ ", "Smith et al., Jones, etc., Germany– and “What?”, He said."],
        ["Բարև ձեզ։ ", "Ես այստեղ եմ։"],
        ["ሰላም ነው። ", "ዛሬ ጥሩ ነው።"],
        ["နေကောင်းလား။ ", "ကောင်းပါတယ်။"],
        ["ខ្ញុំទៅផ្សារ។ ", "គាត់ទៅសាលា។"],
        ["As follows:\n", "- one thing\n", "- another thing\n", "1. Third"],
        ["A hard\nwrapped line. ", "And\nanother."],
        ["One paragraph\n\n", "Another"],
        ["What is it? ", "42."],
        ["Of these. [4]\n\n", "[5]\n\n", "* * *\n\n", "A heading\n=========\n\n", "Text."],
        ["| a | b |\n|---|---|\n", "| 1 | 2 |"],
        ["| It works. | Yes. |\n|           | Often. |\n", "| It fails. | No. |"],
        ["Of whales . . . . . 12\nOf ships . . . 15\nOf men … 17"],
        ["A word . ", "Then 5 more . ", "And so on ."],
        ["no marks at all"],
    ],
)
def test_sentences(expected):
    text = "".join(expected)
    assert cut(sentences(text), text) == expected


@pytest.mark.parametrize(
    "expected",
    [
        ["One\nline.\n\n", "Two.\n \t\n\n", "Three.\n"],
        ["One.\r\n\r\n", "Two."],
        ["\n\n  One.\n\n", "Two."],
        ["x" * 121 + "\n", "Unwrapped lines are paragraphs."],
        ["x" * 120 + "\nThis one was wrapped."],
        ["x" * 140 + "\nwide lines were wrapped, too."],
        ["x" * 140 + ",\nand after a comma."],
        ["x" * 140 + ".\n", "e.g. not after a full stop."],
        ["x" * 140 + "\n  and where it is indented."],
        ["- " + "x" * 140 + "\n  PDF goes on below a list's mark."],
        ["  " + "x" * 140 + "\n", "  Beside it is another paragraph."],
        ["x" * 140 + "\n[a link](of) goes on, too."],
        ["x" * 140 + "\n", "  - an item does not."],
        ["x" * 140 + ".”\n", "  Nor does what is set in behind a quotation."],
        ["视" * 140 + "。\n", "    另一段。"],
        [" \n \n "],
    ],
)
def test_paragraphs(expected):
    text = "".join(expected)
    assert cut(paragraphs(text), text) == expected


def test_no_units_in_an_empty_text():
    assert words("") == sentences("") == paragraphs("") == []


@pytest.mark.parametrize(
    ("before", "introduces"),
    [
        ("Either of the following:\n\n", True),
        ("Text. And then:\n\n", True),
        ("object.__init__(self[, ...])\n\n", True),
        ("Kinds of whales\n\n", True),
        ("It ended there.\n\n", False),
        ("- an item of a list\n\n", False),
        ("A paragraph of\ntwo lines without an end\n\n", False),
        ("", False),
    ],
)
def test_leads_in(before, introduces):
    assert leads_in(before + "What follows.", len(before)) is introduces


@given(TEXTS)
def test_sentences_and_paragraphs_cover_any_text(text):
    for units in (sentences(text), paragraphs(text)):
        assert "".join(cut(units, text)) == text
        assert all(start < end for start, end in units)
        assert len(units) == 1 or not any(piece.isspace() for piece in cut(units, text))


@given(TEXTS)
def test_no_sentence_reaches_over_a_paragraphs_end(text):
    assert {start for start, _ in paragraphs(text)} <= {start for start, _ in sentences(text)}


@given(TEXTS)
def test_words_leave_out_only_blanks(text):
    spans = words(text)
    assert all(start < end <= start + 32 for start, end in spans)
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    assert not "".join(text[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)).strip()


@pytest.mark.parametrize(
    "told",
    [
        "Am 3. Oktober 1990 war es so weit. | Das ist z. B. ein Feiertag, z. B. Ostern. | Abschn. 5 gilt ab 1. Mai.",
        "Im 19. Jahrhundert war es so, i. d. R. Montags. | Vgl. Kap. 3 und Anm. 7. | Sie kam als 10. | Am Ende er.",
        "El Sr. Pérez vive en la Av. Central. | Véase p. ej. el art. 5 y la pág. 12. | Fin.",
        "Il sig. Rossi abita in via Roma n. 5. | Fine.",
        "We chose plan b. | I won. | He was 10. | The end. | It was 1990. | October was cold.",
    ],
    ids=["German dates", "German ordinals", "Spanish", "Italian", "English"],
)
def test_stops_of_other_languages(told):
    text = told.replace("| ", "")
    assert [text[start:end].strip() for start, end in sentences(text)] == told.split(" | ")
