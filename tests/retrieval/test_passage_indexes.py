"""Late interaction and learned sparse search over a library, by name: what is found, kept, brought up to date."""

from __future__ import annotations

import json

import pytest
from honest import document
from retrieval.passage_shelf import FRUITS, KINDS, LINES, Shelf, scored_by_definition, shelf_of_fruits, text_of
from retrieval.test_store import make, put
from typer.testing import CliRunner

from foveal.cli.main import app
from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.library import Library
from foveal.retrieval import passage_indexes, passage_making
from foveal.retrieval.passage_making import bring_up_to_date
from foveal.retrieval.passage_names import visible_names


@pytest.fixture
def shelf(own_settings, monkeypatch):
    return shelf_of_fruits(own_settings, monkeypatch)


@pytest.mark.parametrize("kind", KINDS)
def test_it_ranks_by_its_definition_once_it_was_made_and_says_how_before(shelf, kind, monkeypatch):
    with monkeypatch.context() as few:
        few.setattr(passage_indexes, "FEW", 2)
        with pytest.raises(InputError, match=f"18 passages would have to be read. Make it: foveal admin index {kind}"):
            shelf.find("plums", kind)
    told = []
    index = bring_up_to_date(shelf, kind, on_progress=lambda done, of: told.append((done, of)))
    assert told == [(18, 18)]
    assert sorted(index.names) == sorted(visible_names(shelf.store).to_pylist())
    assert len(index) == 18
    for query in ("ripe plums", "dried figs are sweet", "what keeps for long"):
        shown = [f"{line.format(fruit)}" for fruit in FRUITS for line in LINES]
        best = max(shown, key=lambda text: scored_by_definition(kind, query, f"{text}"))
        found = shelf.find(query, kind, 5)
        assert scored_by_definition(kind, query, found[0]) == pytest.approx(
            scored_by_definition(kind, query, best), rel=0.05
        )
        assert len(found) == 5
    assert shelf.find("  ", kind) == []
    monkeypatch.setattr(type(shelf.models[kind]), "knows", lambda _, text: "plums" in text, raising=False)
    assert (shelf.find("figs", kind), len(shelf.find("plums", kind))) == ([], 3)
    with pytest.raises(InputError, match="k = 0"):
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
    assert len(bring_up_to_date(shelf, kind)) == 4


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
    monkeypatch.setattr(passage_making, "AT_ONCE", 4)

    def stop(done, of):
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring_up_to_date(shelf, kind, on_progress=stop)
    told = []
    index = bring_up_to_date(shelf.elsewhere(), kind, on_progress=lambda done, of: told.append((done, of)))
    assert told == [(4, 10), (8, 10), (10, 10)]
    assert sorted(index.names) == sorted(visible_names(shelf.store).to_pylist())
    assert len(shelf.models[kind].read) == 18
    assert shelf.elsewhere().find("sour figs keep for long", kind, 1) == ["sour figs keep for long"]
    assert len(shelf.models[kind].read) == 18  # nothing is read twice
    whole = shelf.asked(kind).open()
    assert (sorted(whole.names), len(whole)) == (sorted(index.names), 18)


def test_what_cannot_be_is_told(shelf, own_settings, tmp_path):
    with pytest.raises(UnknownName, match="There are: late, sparse"):
        bring_up_to_date(shelf, "colbert")
    empty = Shelf(make(tmp_path / "empty", encoder=None), own_settings, {})
    for attempt in (lambda: bring_up_to_date(empty, "late"), lambda: empty.find("plums", "late")):
        with pytest.raises(InputError, match="holds no passage"):
            attempt()
    assert not (own_settings.home / "indexes").exists()  # no folder for what was refused


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
    told = json.loads(run.invoke(app, ["admin", "index", "late:minilm", "--anew", "--json", *home]).output)
    assert told == {"index": "late:minilm", "passages": 3, "exact": False}
    wrong = run.invoke(app, ["admin", "index", "ivf-rq", "--anew", *home])
    assert "--anew goes with late:MODEL and sparse:MODEL" in str(wrong.exception)
