"""Late interaction and learned sparse search over a library, by name: what is found, kept, brought up to date."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from honest import document
from retrieval.test_late import WordVectors, maxsim_by_definition
from retrieval.test_store import make, put
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.registry import RETRIEVERS, lookup
from foveal.retrieval import passage_indexes
from foveal.retrieval.filters import sql
from foveal.retrieval.late_index import LateIndex
from foveal.retrieval.passage_indexes import bring_up_to_date, folder_of_index, visible_names
from foveal.retrieval.sparse import SparseIndex, SparseVectors
from foveal.settings import Settings

FRUITS = ("apples", "pears", "plums", "cherries", "figs", "dates")
LINES = ("ripe {} fall early", "sour {} keep for long", "dried {} are sweet")
KINDS = ("late", "sparse")


@dataclass(frozen=True)
class WeighedWords:
    """A SparseEncoder: each word is a number of its own, longer words weigh more."""

    vocabulary: int = 5000
    name: str = "weighed-words"
    fingerprint: str = "weighed-words"

    def encode(self, texts, *, queries=False):  # noqa: ARG002
        return SparseVectors.of_dense(np.stack([self.weights(text) for text in texts]))

    def weights(self, text: str) -> np.ndarray:
        row = np.zeros(self.vocabulary, dtype=np.float32)
        for word in re.findall(r"\w+", text.lower()):
            row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.vocabulary] = len(word)
        return row


@dataclass
class Shelf:
    """A Collection."""

    store: Any
    settings: Settings
    encoder: Any = None

    def find(self, query: str, kind: str, k: int = 3, where: str | None = None) -> list[str]:
        """The texts of what is found."""
        found = lookup(RETRIEVERS, kind, kind="retriever").over(self, sql(where)).search([query], k)[0]
        for hit in found:
            assert self.store.text(hit.passage.span.document_id, hit.revision).quote(hit.passage.span) == (
                hit.passage.text
            )
            assert hit.source == kind
        return [hit.passage.text.strip() for hit in found]


def text_of(fruit: str) -> str:
    return "".join(line.format(fruit) + "\n" for line in LINES)


@pytest.fixture
def shelf(own_settings, monkeypatch):
    models = {
        "late": (WordVectors, passage_indexes.LatePassages),
        "sparse": (WeighedWords, passage_indexes.SparsePassages),
    }
    for kind, (model, opened) in models.items():
        monkeypatch.setitem(passage_indexes.KINDS, kind, (lambda *_, model=model: model(), opened))
    monkeypatch.setattr(passage_indexes, "_opened", {})
    monkeypatch.setattr(passage_indexes, "_loaded", passage_indexes._loaded.__wrapped__)
    store = make(own_settings.home / "library", encoder=None)
    put(store, [document(fruit, text_of(fruit)) for fruit in FRUITS])
    return Shelf(store, own_settings)


def scored_by_definition(kind: str, query: str, text: str) -> float:
    if kind == "sparse":
        return float(WeighedWords().weights(query) @ WeighedWords().weights(text))
    asked, held = WordVectors().queries([query]), WordVectors().documents([text])
    return maxsim_by_definition(asked[0], held[0])


@pytest.mark.parametrize("kind", KINDS)
def test_it_ranks_by_its_definition_once_it_was_made_and_says_how_before(shelf, kind, monkeypatch):
    with monkeypatch.context() as few:
        few.setattr(passage_indexes, "FEW", 2)
        with pytest.raises(InputError, match=f"18 passages would have to be read. Make it: foveal admin index {kind}"):
            shelf.find("plums", kind)
    told = []
    index, missing = bring_up_to_date(shelf, kind, on_progress=lambda done, of: told.append((done, of)))
    assert (missing, told) == (0, [(18, 18)])
    assert index.names == set(visible_names(shelf.store))
    assert len(index.names) == 18
    for query in ("ripe plums", "dried figs are sweet", "what keeps for long"):
        shown = [f"{line.format(fruit)}" for fruit in FRUITS for line in LINES]
        best = max(shown, key=lambda text: scored_by_definition(kind, query, f"{text}"))
        found = shelf.find(query, kind, 5)
        assert scored_by_definition(kind, query, found[0]) == pytest.approx(
            scored_by_definition(kind, query, best), rel=0.05
        )
        assert len(found) == 5
    assert shelf.find("  ", kind) == []
    with pytest.raises(InputError, match="k=0"):
        shelf.find("plums", kind, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_condition_holds_for_all_that_is_found(shelf, kind):
    bring_up_to_date(shelf, kind)
    found = shelf.find("ripe sour dried plums", kind, 4, where="title=figs")
    assert sorted(found) == sorted(text_of("figs").splitlines())  # though three of plums are better
    assert shelf.find("ripe plums", kind, 4, where="title=kiwis") == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_comes_is_found_and_what_goes_is_not(shelf, kind):
    bring_up_to_date(shelf, kind)
    put(shelf.store, [document("kiwis", "hairy kiwis are green\n")])
    assert shelf.find("hairy kiwis", kind, 1) == ["hairy kiwis are green"]  # a few are read at the search
    put(shelf.store, [document("kiwis", "smooth kiwis are golden\n")])
    assert shelf.find("hairy kiwis are green", kind, 1) != ["hairy kiwis are green"]
    assert shelf.find("smooth kiwis", kind, 1) == ["smooth kiwis are golden"]
    gone = [entry.id for entry in shelf.store.entries() if entry.title in FRUITS[:5]]
    with shelf.store.writing():
        shelf.store.remove(gone)
    left = {*text_of("dates").splitlines(), "smooth kiwis are golden"}
    assert set(shelf.find("ripe sour dried smooth plums", kind, 9)) == left
    index, _ = bring_up_to_date(shelf, kind)
    assert len(index.names) == 4


@pytest.mark.parametrize("kind", KINDS)
def test_many_that_came_are_left_out_and_counted(shelf, kind, monkeypatch, caplog):
    bring_up_to_date(shelf, kind)
    monkeypatch.setattr(passage_indexes, "FEW", 2)
    put(shelf.store, [document("kiwis", text_of("kiwis"))])
    assert "kiwis" not in shelf.find("dried kiwis are sweet", kind, 1)[0]
    assert f"3 passages are not in the index {kind} yet. Add them: foveal admin index {kind}" in caplog.text
    bring_up_to_date(shelf, kind)
    assert shelf.find("dried kiwis are sweet", kind, 1) == ["dried kiwis are sweet"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_reading_goes_on_and_another_process_opens_what_is_there(shelf, kind, monkeypatch):
    monkeypatch.setattr(passage_indexes, "AT_ONCE", 4)

    def stop(done, of):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(shelf, kind, on_progress=stop)
    passage_indexes._opened.clear()  # another process
    told = []
    index, _ = bring_up_to_date(shelf, kind, on_progress=lambda done, of: told.append((done, of)))
    assert told[0][1] == told[-1][0] == 18 - sum(len(range(n, 18, 5)) for n in range(2))
    assert index.names == set(visible_names(shelf.store))
    passage_indexes._opened.clear()
    monkeypatch.setattr(WordVectors, "documents", None)
    monkeypatch.setattr(passage_indexes.SparsePassages, "add", None)
    assert shelf.find("sour figs keep for long", kind, 1) == ["sour figs keep for long"]  # nothing is read anew
    model = WordVectors() if kind == "late" else WeighedWords()
    folder = folder_of_index(kind, shelf.store, model.fingerprint, shelf.settings.home)
    assert len([place for place in folder.iterdir() if place.is_dir()]) == 1
    whole = LateIndex.load(folder).ids if kind == "late" else SparseIndex.load(folder).ids()
    assert len(whole) == 18


def test_what_cannot_be_is_told(shelf, own_settings, tmp_path):
    with pytest.raises(UnknownName, match="There are: late, sparse"):
        bring_up_to_date(shelf, "colbert")
    empty = Shelf(make(tmp_path / "empty", encoder=None), own_settings)
    with pytest.raises(InputError, match="holds no passage"):
        bring_up_to_date(empty, "late")


def test_the_commands_make_it_and_search_it_with_a_real_model(own_settings, tmp_path):
    """MiniLM's token vectors, as a person would."""
    texts = {
        "eyes": "The fovea is the small part of the retina that sees sharply.",
        "ears": "The cochlea turns sound into nerve signals.",
        "taste": "Taste buds lie on the tongue.",
    }
    library = Library.open(settings=own_settings, encoder="none")
    library.add_documents(document(name, text) for name, text in texts.items())
    home = ["--home", str(own_settings.home)]
    run = CliRunner()
    refused = run.invoke(app, ["search", "hearing", "--retriever", "sparse", *home])
    assert isinstance(refused.exception, ModelUnavailable)
    made = run.invoke(app, ["admin", "index", "late", *home])
    assert made.exit_code == 0, made.output
    assert "3 passages. Search them: foveal search … --retriever late" in made.output
    found = run.invoke(app, ["search", "what lets us hear", "--retriever", "late", "--json", *home])
    assert json.loads(found.output)["hits"][0]["title"] == "ears"
    told = json.loads(run.invoke(app, ["admin", "index", "late:minilm", "--json", *home]).output)
    assert told == {"index": "late:minilm", "passages": 3, "exact": False}
