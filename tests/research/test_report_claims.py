"""A report's sentences and what each cites, in all the ways that reports mark it."""

from __future__ import annotations

import pytest

from foveal.research.claims import addresses_of, cited, claims_of, marks_left_out, without_marks

REPORT = """# Mills

The **mill** was built in 1820 [1][2]. It burnt down.[[e3]] Nobody was hurt [2-4]! What a day.

- In 1900, [Leeds](https://leeds.example) took over [3](https://a.example/c "title").
* nothing to see here

## Output

| year | output |
| --- | --- |
| 1900 | 12 tonnes [[e4, e5]] |

It fell by 3 % in Ghent. Dr. Hart said so [^5].

~~~python
x = y[1]  # no claim [1]
~~~

## Sources

1. A. Author. Title of 2020. <https://example.org/a>
2. [B](https://example.org/b)

[5]: https://example.org/five

## Checks

| The mill was built in 1820 | [1] |
"""


def test_claims_and_their_marks():
    assert [(one.text, one.evidence, one.section) for one in claims_of(REPORT)] == [
        ("The mill was built in 1820.", ("1", "2"), "Mills"),
        ("It burnt down.", ("e3",), "Mills"),
        ("Nobody was hurt!", ("2", "3", "4"), "Mills"),
        ("In 1900, Leeds took over.", ("3",), "Mills"),
        ("1900, 12 tonnes", ("e4", "e5"), "Output"),
        ("It fell by 3 % in Ghent.", (), "Output"),  # states something, cites nothing
        ("Dr. Hart said so.", ("5",), "Output"),
    ]


def test_addresses_of_marks_and_of_the_list():
    assert addresses_of(REPORT) == {
        "1": "https://example.org/a",
        "2": "https://example.org/b",
        "3": "https://a.example/c",
        "5": "https://example.org/five",
    }


def test_what_a_mark_stands_for_is_no_claim():
    """Markdown's own form of sources and notes, which may stand anywhere."""
    text = (
        "The mill was built in 1820 [1]. It burnt down [^2].\n[1]: https://example.org/mill\n\n"
        "  [^2]: Of 1907, in the parish book. <file:///books/parish.pdf>\n\n[3]: It is a sentence of 1909."
    )
    assert [one.text for one in claims_of(text)] == ["The mill was built in 1820.", "It burnt down."]
    assert addresses_of(text) == {"1": "https://example.org/mill", "2": "file:///books/parish.pdf"}


def test_a_text_without_claims():
    assert claims_of("") == []
    assert claims_of("# Title\n\nWords alone, nothing else\n") == []
    assert cited("see [here](https://x.example) and [1,3]") == ("1", "3")


def test_an_address_in_a_numbered_list_of_the_text_is_no_entry_of_the_sources():
    listed = "# T\n\n1. Built in 1820, see https://else.example/x [1].\n2. Sold [1].\n\n{}1. A <https://a.example/1>\n"
    assert addresses_of(listed.format("## Sources\n\n")) == {"1": "https://a.example/1"}
    assert addresses_of(listed.format("")) == {"1": "https://else.example/x"}  # no heading says which list it is


@pytest.mark.parametrize("page", ["[[" + "abcdefghij," * 60 + "!", "[1](" * 6000], ids=["keys", "addresses"])
def test_what_is_no_mark_at_last_is_soon_seen_to_be_none(page):
    # Were its parts matched in several ways each, this would not end: a page of anybody's can write so.
    assert cited(page) in ((), ("1",))
    assert "abcdefghij" in marks_left_out(page) or marks_left_out(page).startswith("[…](")


def test_keys_and_titles_of_marks():
    assert cited("[[pqac-1f2e3d4c; e_3, source_12]]") == ("pqac-1f2e3d4c", "e_3", "source_12")
    assert marks_left_out('So it is [3](https://a.example/c "a title"), [4](https://b.example) there.') == (
        "So it is […], […] there."
    )


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**a " * 15_000, "**a " * 14_999 + "**a"),
        ("![" * 300_000, "![" * 300_000),
        ("![](" * 100_000, "![](" * 100_000),
    ],
    ids=["emphasis", "pictures", "addresses"],
)
def test_signs_that_nothing_closes(text, plain):
    assert without_marks(text) == plain


@pytest.mark.parametrize("run", [" " * 300_000, "#" * 300_000], ids=["blanks", "hashes"])
def test_a_heading_that_a_run_parts_from_its_end(run):
    (claim,) = claims_of(f"# A{run}b ##\n\nIt was built in 1820 [1].")
    assert claim.section == " ".join(f"A{run}b".split())
