"""Words are marked as the index finds them: without accents; quotes of any keyboard bind a phrase."""

from __future__ import annotations

import unicodedata

import pytest
from honest import document

from foveal.cli.hits import hit_text
from foveal.library import Library
from foveal.retrieval import indexing
from foveal.retrieval.words import MOST_FORMS, _phrase_spellings, folded, plain_quotes, spellings
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


@pytest.mark.parametrize("name", ["Zürich", "Việt", "한국어", "ガラス", "ёлка"])
def test_accents_apart_from_their_letters_are_found_and_marked_like_others(tmp_path, name):
    apart = unicodedata.normalize("NFD", name)
    assert apart != name
    library = Library.open(tmp_path, encoder="none")
    texts = [f"Die {one} Nacht." for one in (name, apart)]
    library.add_documents(document(f"d{n}", text, title=text[4:]) for n, text in enumerate(texts))
    for asked in (name, apart, f'"{name} Nacht"', f'"{apart} Nacht"'):
        found = library.search(asked, 5)
        assert sorted(hit.passage.text for hit in found) == sorted(texts)
        assert all(library.get(hit.passage.span.document_id).quote(hit.passage.span) in texts for hit in found)
    for condition in (f"title~{name}", f"title~{apart}", f'title="{name} Nacht."', f'title="{apart} Nacht."'):
        assert len(library.documents(condition)) == 2
    assert not library.documents(f'title!="{name} Nacht."')
    assert "".join(one.text for one in marked_words(texts[1], name) if one.marked) == apart


ALIKE = {
    "sigma": ["Σίσυφος", "ΣΊΣΥΦΟΣ"],
    "first": ["istanbul", "Istanbul", "İstanbul", "İSTANBUL"],
    "each": ["izmir", "Izmir", "İzmir", "İZMİR"],
    "within": ["Diyarbakır", "DİYARBAKIR"],
}


@pytest.mark.parametrize("words", ALIKE.values(), ids=ALIKE)
def test_small_letters_and_capitals_of_greek_and_turkish_find_and_mark_each_other(tmp_path, words):
    library = Library.open(tmp_path, encoder="none")
    texts = [f"{word} signed." for word in words]
    library.add_documents(document(f"d{n}", text, title=text) for n, text in enumerate(texts))
    library.add_documents([document("other", "Nobody signed.")])
    for asked in (*words, *(f'"{word} signed"' for word in words)):
        assert sorted(hit.passage.text for hit in library.search(asked, 9)) == sorted(texts)
        for word, text in zip(words, texts, strict=True):
            assert next(one.text for one in marked_words(text, asked) if one.marked) == word


def test_a_word_is_asked_for_once_in_each_spelling():
    assert spellings("Retrieval") == ["Retrieval", "Retrİeval"]
    assert spellings("Sharpest") == ["Sharpest"]
    assert spellings("İstanbul") == ["İstanbul", "istanbul"]
    assert spellings("ΟΣ ΣΑΣ") == ["Οσ ΣΑσ", "Ος ΣΑς"]


def test_a_phrase_is_asked_for_in_few_forms_those_of_one_kind_first():
    forms = _phrase_spellings("istanbul izmir")
    assert forms[:3] == ["istanbul izmir", "İstanbul İzmir", "İstanbul İzmİr"]
    assert "istanbul İzmir" in forms
    assert len(_phrase_spellings("similar " * 99)) == len(set(_phrase_spellings("similar " * 99))) == MOST_FORMS


def test_parts_of_a_word_count_once_whatever_its_spellings(tmp_path):
    library = Library.open(tmp_path, encoder="none")
    library.add_documents(document(f"d{n}", text) for n, text in enumerate(["A well-defined term.", "Well, a term."]))
    scores = [[hit.score for hit in library.search(asked, 5)] for asked in ("well-defined", "well defined")]
    assert scores[0] == scores[1]


def test_a_soft_hyphen_cuts_no_word(tmp_path):
    library = Library.open(tmp_path, encoder="none")
    library.add_documents([document("d", "Die Zusammen\u00adarbeit gelang.")])
    assert [hit.passage.text for hit in library.search("Zusammenarbeit", 5)] == ["Die Zusammen\u00adarbeit gelang."]
    assert library.search("Zusammen\u00adarbeit", 5)


def test_what_an_older_foveal_indexed_with_accents_apart_is_indexed_anew_when_it_is_added(tmp_path, monkeypatch):
    library = Library.open(tmp_path, encoder="none")
    apart = unicodedata.normalize("NFD", "Zürich")
    documents = [document("a", "Zürich"), document("b", apart), document("c", "Bern", title=apart)]
    with monkeypatch.context() as older:
        older.setattr(indexing, "composed", lambda text: text)
        library.add_documents(documents)
    assert len(library.search("Zürich", 5)) == 1
    report = library.add_documents(documents)
    assert (len(report.unchanged), len(report.updated)) == (1, 2)
    assert len(library.search("Zürich", 5)) == 3


def test_letters_of_other_scripts_stay():
    for word in ("が", "γάμος", "й", "שָׁלוֹם", "किताब"):
        assert folded(word) == word.casefold()


@pytest.mark.parametrize(
    "asked", ["“log was kept”", "„log was kept“", "«log was kept»", '"log was kept"', "「log was kept」"]
)
def test_quotes_of_any_keyboard_are_quotes(asked):
    assert plain_quotes(asked) == '"log was kept"'
