"""Words are marked as the index finds them: without accents; quotes of any keyboard bind a phrase."""

from __future__ import annotations

import pytest
from honest import document

from foveal.cli.hits import hit_text
from foveal.library import Library
from foveal.retrieval.words import folded, plain_quotes
from foveal.web.passage_marks import marked_words

NAMES = {
    "Dvořák": "dvorak",
    "Groß": "GROSS",
    "Wiśniewski": "Wisniewski",
    "Łukasz": "lukasz",
    "Ødegård": "odegard",
    "Núñez": "Nunez",
    "Nguyễn": "nguyen",
}
FILLING = "The log was kept on the quay for all who came and went there. " * 12


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    made = Library.open(tmp_path_factory.mktemp("names"), encoder="none")
    made.add_documents(document(f"d{n}", f"{FILLING}{name} signed it.") for n, name in enumerate(NAMES))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_marked_where_it_is_found_without_its_accents(library, name):
    asked = NAMES[name]
    assert folded(name) == folded(asked)
    [hit] = library.search(asked, k=5)
    assert [one.text for one in marked_words(hit.passage.text, asked) if one.marked] == [name]
    [entry] = library.entries([hit.passage.span.document_id]).values()
    shown = hit_text(1, hit, entry, asked, full=False)
    assert [shown.plain[span.start : span.end] for span in shown.spans if span.style == "yellow"] == [name]


def test_letters_of_other_scripts_stay():
    for word in ("が", "γάμος", "й", "שָׁלוֹם", "किताब"):
        assert folded(word) == word.casefold()


@pytest.mark.parametrize(
    "asked", ["“log was kept”", "„log was kept“", "«log was kept»", '"log was kept"', "「log was kept」"]
)
def test_quotes_of_any_keyboard_are_quotes(asked):
    assert plain_quotes(asked) == '"log was kept"'
