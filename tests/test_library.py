"""The library as a person uses it: files in, passages with their places out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

import pytest
from honest import HashedWords, document
from hypothesis import given, settings
from hypothesis import strategies as st
from text.books import epub

from foveal import faults
from foveal.errors import (
    Cancelled,
    InputError,
    LibraryCorrupt,
    LibraryError,
    ModelUnavailable,
    StorageFull,
    UnknownDocument,
    UnknownName,
)
from foveal.library import Library
from foveal.registry import RETRIEVERS, SEGMENTERS
from foveal.retrieval import adding
from foveal.retrieval.adding import OwnWork
from foveal.settings import Settings
from foveal.text.sample import manual
from foveal.text.segmenter_by_name import make_segmenter
from foveal.types import Document


@pytest.fixture
def library(own_settings):
    return Library.open(settings=own_settings, encoder="none")


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "eyes.md").write_text("# Eyes\n\nThe fovea is the small part of the retina that sees sharply.\n")
    (folder / "ears.txt").write_text("The cochlea turns sound into nerve signals.\n")
    (folder / "taste.jsonl").write_text(
        '{"id": "t1", "title": "Buds", "text": "Taste buds lie on the tongue.", "year": 2001}\n'
        '{"id": "t2", "title": "Smell", "text": "Much of taste is smell.", "year": 2020}\n'
    )
    return folder


def test_a_folder_is_added_and_its_passages_are_found_with_their_place(library, files):
    report = library.add([files])
    assert (len(report.added), report.skipped, report.sources) == (4, [], 3)
    hit = library.search("fovea retina", 1)[0]
    found = library.get(hit.passage.span.document_id)
    assert found.quote(hit.passage.span) == hit.passage.text
    assert "sees sharply" in hit.passage.text
    assert (found.title, hit.passage.heading, hit.source) == ("Eyes", "Eyes", "lexical")


def test_where_selects_by_metadata(library, files):
    library.add([files])
    assert [hit.passage.text.strip() for hit in library.search("taste", 5, where="year>=2010")] == [
        "Much of taste is smell."
    ]


MAILS = {
    "a.eml": "From: Ada Lovelace <ada@a.example>\nTo: Charles <charles@b.example>\nCc: Mary <mary@c.example>\n"
    "Subject: Notes\n\nThe table is ready for the engine.\n",
    "b.eml": "From: Charles <charles@b.example>\nTo: Ada Lovelace <ada@a.example>\nSubject: Re: Notes\n\n"
    "The engine shall print it.\n",
}


def test_mails_are_found_by_who_wrote_them_and_to_whom(library, files):
    for name, content in MAILS.items():
        (files / name).write_text(content)
    library.add([files])

    def titles(query: str, where: str | None = None) -> set[str]:
        hits = library.search(query, 9, where=where)
        assert all(
            library.get(hit.passage.span.document_id).quote(hit.passage.span) == hit.passage.text for hit in hits
        )
        return {entry.title for entry in library.entries([hit.passage.span.document_id for hit in hits]).values()}

    assert titles("Lovelace") == titles("ada@a.example") == {"Notes", "Re: Notes"}
    assert titles("Mary") == titles("engine", "cc~mary") == {"Notes"}
    assert titles("engine", "from~lovelace") == titles("engine", "to~charles and author~ada") == {"Notes"}
    assert titles("engine", "from=Charles <charles@b.example>") == {"Re: Notes"}
    assert [entry.title for entry in library.documents("to~ada")] == ["Re: Notes"]
    (files / "own.jsonl").write_text('{"id": "x", "title": "Own", "text": "An engine.", "from": "Leeds"}\n')
    library.add([files])
    assert titles("engine", "from=Leeds") == {"Own"}  # metadata of that name goes before


def test_only_what_changed_is_added_again(library, files):
    library.add([files])
    (files / "ears.txt").write_text("The cochlea is a snail of bone.\n")
    (files / "nose.txt").write_text("The nose warms the air.\n")
    report = library.add([files])
    assert [len(kind) for kind in (report.added, report.updated, report.unchanged)] == [1, 1, 3]
    assert library.search("nerve signals", 1, where="title=ears") == []


def test_what_is_no_longer_in_a_folder_goes_with_prune_only(library, files, tmp_path):
    (tmp_path / "other.txt").write_text("Skin feels.\n")
    library.add([files, tmp_path / "other.txt"])
    before = {entry.title for entry in library.documents()}
    (files / "ears.txt").unlink()
    records = (files / "taste.jsonl").read_text().splitlines()
    (files / "taste.jsonl").write_text(records[0] + "\n")
    assert library.add([files]).removed == []
    assert {entry.title for entry in library.documents()} == before
    report = library.add([files], prune=True)
    assert len(report.removed) == 2
    assert before - {entry.title for entry in library.documents()} == {"ears", "Smell"}


def test_an_unreadable_file_keeps_its_document_though_pruned(library, files):
    library.add([files])
    (files / "ears.txt").write_bytes(bytes(range(256)) * 9)
    report = library.add([files], prune=True)
    assert report.removed == []
    assert len(report.skipped) == 1


def test_a_folder_that_cannot_be_listed_keeps_its_documents_though_pruned(library, files, monkeypatch):
    below = files / "below"
    below.mkdir()
    (below / "skin.txt").write_text("Skin feels.\n")
    library.add([files])
    listed = os.scandir

    def refused(path="."):
        if Path(path) == below:
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refused)
    report = library.add([files], prune=True)
    assert [one.address for one in report.skipped] == [below.as_uri()]
    assert report.removed == []
    assert "skin" in {entry.title for entry in library.documents()}


def test_a_file_that_cannot_be_read_keeps_none_whose_name_it_begins_with(library, files):
    (files / "ear").write_text("An ear.\n")
    library.add([files])
    (files / "ear").unlink()
    (files / "ears.txt").write_bytes(bytes(range(256)) * 9)
    report = library.add([files], prune=True)
    assert [one.address for one in report.skipped] == [(files / "ears.txt").as_uri()]
    assert {entry.title for entry in library.documents()} == {"Eyes", "ears", "Buds", "Smell"}


def test_a_bad_record_keeps_nothing_but_itself(library, files):
    rows = [f'{{"title": "Row {n}", "text": "Row number {n}."}}' for n in range(1, 4)]
    (files / "100%#rows.jsonl").write_text("\n".join(rows))
    library.add([files])
    (files / "100%#rows.jsonl").write_text(f"{rows[0]}\n{{bad\n")
    records = (files / "taste.jsonl").read_text().splitlines()
    (files / "taste.jsonl").write_text(f"{records[0]}\n{records[0]}\n")  # the second id is taken
    report = library.add([files], prune=True)
    assert len(report.skipped) == 2
    assert {entry.title for entry in library.documents()} == {"Eyes", "ears", "Row 1", "Row 2", "Buds"}


def test_bad_files_are_reported_and_the_rest_goes_on(library, files):
    (files / "empty.txt").touch()
    (files / "noise.bin").write_bytes(bytes(range(256)) * 9)
    (files / "cut.pdf").write_bytes(b"%PDF-1.7\ngarbage")
    (files / "broken.jsonl").write_text('{"text": "A good record about salt."}\nnot json\n')
    report = library.add([files])
    assert len(report.added) == 5
    assert len(report.skipped) == 4
    assert all(one.reason.strip() for one in report.skipped)
    assert library.search("salt", 1)


def test_a_path_that_is_not_there_is_refused_before_anything_is_added(library, files):
    with pytest.raises(InputError, match="no file or folder"):
        library.add([files, files / "absent.txt"])
    assert library.documents() == []


@pytest.mark.slow
def test_ten_thousand_tiny_files(library, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    for i in range(10_000):
        (folder / f"{i}.txt").write_text(f"note {i}")
    assert len(library.add([folder]).added) == 10_000
    assert library.search("9321", 1)[0].passage.text == "note 9321"
    again = library.add([folder])
    assert len(again.unchanged) == 10_000
    assert not again.added


def test_a_huge_log_is_refused_at_once(library, tmp_path):
    with (tmp_path / "huge.log").open("wb") as file:
        file.write(b"a line of a log\n" * 20_000)
        file.truncate(10**9)
    report = library.add([tmp_path / "huge.log"])
    assert report.added == []
    assert "max" in report.skipped[0].reason


def test_removing_by_file_folder_and_id(library, files):
    library.add([files])
    assert [entry.title for entry in library.remove(str(files / "eyes.md"))] == ["Eyes"]
    assert len(library.remove(str(files / "taste.jsonl"))) == 2
    last = library.documents()[0]
    assert library.remove(last.id[:8]) == [last]
    assert library.documents() == []
    with pytest.raises(UnknownDocument, match="holds nothing from"):
        library.remove(str(files))
    with pytest.raises(UnknownDocument, match="holds nothing from"):
        library.find("~$report.txt")  # nobody's home


def test_a_folder_is_not_what_begins_with_its_name_nor_a_few_digits_an_id(library, files, tmp_path):
    other = tmp_path / "files-old"
    other.mkdir()
    (other / "kept.txt").write_text("What was said before.\n")
    library.add([files, other])
    assert len(library.remove(f"{files}/")) == 4
    [kept] = library.documents()
    assert (kept.title, library.find(kept.id[:6])) == ("kept", [kept])
    with pytest.raises(UnknownDocument, match=r"holds nothing from .* An id needs its first 6 digits or more\."):
        library.find(kept.id[:5])


def test_a_removed_file_is_still_named_by_its_path_after_it_is_gone(library, files):
    library.add([files])
    (files / "ears.txt").unlink()
    assert [entry.title for entry in library.find(str(files / "ears.txt"))] == ["ears"]
    assert len(library.find(str(files))) == 4


def test_a_document_is_got_by_id_path_and_revision(library, files):
    library.add([files])
    old = library.get(str(files / "ears.txt"))
    (files / "ears.txt").write_text("Another text.\n")
    library.add([files / "ears.txt"])
    assert library.get(old.id[:10]).text == "Another text.\n"
    assert library.get(old.id, revision=old.revision).text == old.text
    with pytest.raises(UnknownDocument, match="holds 2 documents"):
        library.get(str(files / "taste.jsonl"))


def test_a_replaced_text_is_got_by_the_beginning_of_its_hash(library, files):
    library.add([files])
    old = library.get(str(files / "ears.txt"))
    (files / "ears.txt").write_text("Another text.\n")
    library.add([files / "ears.txt"])
    assert library.get(old.id[:8], revision=old.revision[:10]).text == old.text
    assert library.store.revisions(old.id) == [library.get(old.id).revision, old.revision]
    with pytest.raises(UnknownDocument, match=f"Its revisions: .*{old.revision[:12]}"):
        library.get(old.id, revision="0123")


def test_a_hit_names_the_revision_it_was_found_in(library, files):
    library.add([files])
    hit = library.search("cochlea", 1)[0]
    (files / "ears.txt").write_text("Another text.\n")
    library.add([files / "ears.txt"])
    found = library.get(hit.passage.span.document_id, revision=hit.revision)
    assert found.quote(hit.passage.span) == hit.passage.text


def test_what_stands_just_there_goes_before_what_stands_below(library):
    pages = ("https://site.org/", "https://site.org/a", "https://site.org/a/b")
    library.add_documents([Document.of(url, f"page {url}", url, metadata={"source": url}) for url in pages])
    assert [entry.title for entry in library.remove("HTTPS://Site.org/#top")] == ["https://site.org/"]
    assert library.get("https://site.org/a").title == "https://site.org/a"


def test_a_folder_whose_name_looks_like_an_id_is_still_a_folder(library, tmp_path, monkeypatch):
    (tmp_path / "facade").mkdir()
    (tmp_path / "facade" / "a.txt").write_text("brick and mortar")
    library.add([tmp_path / "facade"])
    monkeypatch.chdir(tmp_path)
    assert len(library.find("facade")) == 1


def test_an_empty_library_may_still_change_its_mind(library, own_settings, files):
    assert Library.open(settings=own_settings, segmenter="fixed").stats().segmenter == "fixed"
    Library.open(settings=own_settings).add([files])
    with pytest.raises(LibraryError, match="made with the segmenter 'fixed'"):
        Library.open(settings=own_settings, segmenter="headings")


def test_what_another_adds_while_a_librarys_encoder_loads_stays(library, own_settings, files, monkeypatch):
    """An empty library is made anew for another segmenter; meanwhile it is empty no longer."""

    def slowly(*given, **options):
        monkeypatch.undo()
        library.add([files])
        return make_segmenter(*given, **options)

    monkeypatch.setattr("foveal.retrieval.creation.make_segmenter", slowly)
    with pytest.raises(LibraryError, match="made with the segmenter 'headings', not 'fixed'"):
        Library.open(settings=own_settings, segmenter="fixed")
    assert len(library.documents()) == 4
    assert library.search("cochlea", 1)


def test_a_date_that_no_calendar_holds_is_none(library, files):
    (files / "old.jsonl").write_text(
        '{"id": 1, "text": "Too early.", "published_at": "0001-01-01T00:00:00+05:00"}\n'
        '{"id": 2, "text": "Too late.", "published_at": "9999-12-31T23:59:59-05:00"}\n'
    )
    assert len(library.add([files]).added) == 6
    assert {entry.published_at for entry in library.documents()} == {None}
    assert len(library.remove(str(files / "old.jsonl"))) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "half \ud83d a pair"},
        {"metadata": {"tags": ["a", "b"]}},
        {"metadata": {"score": float("nan")}},
        {"metadata": {"account": 2**64}},
        {"metadata": {"from": "half \ud83d a pair"}},
        {"metadata": {"half \ud83d a pair": 1}},
        {"metadata": {7: "seven"}},
        {"published_at": datetime.fromisoformat("0001-01-01T00:00:00+05:00")},
        {"published_at": datetime.fromisoformat("9999-12-31T23:59:59-05:00")},
        {"published_at": "2024-05-06"},
    ],
)
def test_a_document_that_cannot_be_stored_is_named(library, wrong):
    with pytest.raises(InputError, match="'broken'"):
        library.add_documents([document("fine", "some text"), document("broken", **({"text": "x"} | wrong))])
    library.add_documents([document("fine", "some text", metadata={"status": HTTPStatus.OK, "most": 2**64 - 1})])
    assert [(one.title, one.metadata) for one in library.documents()] == [("fine", {"status": 200, "most": 2**64 - 1})]


def test_a_new_retriever_is_one_class_and_one_line(library, files, monkeypatch):
    monkeypatch.setitem(RETRIEVERS, "reversed", "honest:ReversedRetriever")
    library.add([files])
    forth = library.search("taste", 5, retriever="lexical")
    assert library.search("taste", 5, retriever="reversed") == forth[::-1]


def test_a_library_without_encoder_says_so(library, files):
    library.add([files])
    with pytest.raises(InputError, match="without an encoder"):
        library.search("taste", retriever="dense")
    with pytest.raises(UnknownName, match="lexical, dense, hybrid, lexsembridge, generative"):
        library.search("taste", retriever="telepathy")
    with pytest.raises(InputError, match=r"lexical retriever has no option depth\. Those that have it: .*hybrid"):
        library.search("taste", retriever="lexical", depth=3)
    with pytest.raises(InputError, match=r"no option wings\. No retriever has it\."):
        library.search("taste", retriever="lexical", wings=2)


def test_a_library_keeps_its_encoder_and_segmenter(library, own_settings, files):
    library.add([files])
    with pytest.raises(LibraryError, match="made with the encoder 'none', not 'minilm'"):
        Library.open(settings=own_settings, encoder="minilm")
    with pytest.raises(LibraryError, match="made with the segmenter 'headings'"):
        Library.open(settings=own_settings, segmenter="fixed")
    for wrong in ({"segmenter": "scissors"}, {"encoder": "scissors"}):  # no other choice, but none at all
        with pytest.raises(UnknownName, match="is called 'scissors'"):
            Library.open(settings=own_settings, **wrong)
    assert Library.open(settings=own_settings, encoder="none", segmenter="headings").stats().encoder == "none"


def test_what_is_not_there_is_not_made_by_reading(own_settings):
    with pytest.raises(LibraryError, match="foveal add"):
        Library.open(settings=own_settings, create=False)
    assert not own_settings.home.exists()


def test_a_wrong_segmenter_makes_no_library(own_settings):
    with pytest.raises(UnknownName, match="headings, fixed"):
        Library.open(settings=own_settings, encoder="none", segmenter="scissors")
    assert not own_settings.library.exists()


def test_a_changed_encoder_is_refused(own_settings):
    from foveal.retrieval import tables

    library = Library.open(settings=own_settings)
    library.add_documents([document("a", "some text")])
    tables.write_setting(str(own_settings.library), "fingerprint", "another")
    with pytest.raises(LibraryError, match="not the one that made this library's vectors"):
        Library.open(settings=own_settings).search("text")


def test_damaged_files_are_told(library, files, own_settings):
    library.add([files])
    for path in own_settings.library.rglob("*.lance"):
        if path.is_file():
            path.write_bytes(b"x")
    with pytest.raises(LibraryCorrupt, match="missing or damaged"):
        Library.open(settings=own_settings).search("taste", where="kind=jsonl")


@pytest.mark.slow
def test_searching_goes_on_while_another_thread_adds(library, files, own_settings):
    library.add([files])
    documents = [document(f"d{i}", f"a note on taste number {i}\n") for i in range(3000)]
    errors: list[BaseException] = []

    def search() -> None:
        reader = Library.open(settings=own_settings)
        try:
            while not done.is_set():
                for hit in reader.search("taste", 5):
                    assert reader.get(hit.passage.span.document_id).quote(hit.passage.span) == hit.passage.text
        except BaseException as error:
            errors.append(error)

    done = threading.Event()
    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    library.add_documents(documents)
    done.set()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(library.documents()) == 3004


def test_stats_count_no_passage_that_a_full_disk_left_behind(library, files):
    library.add([files])
    before = library.stats().passages
    with faults.injected({"store.write": "full@2"}), pytest.raises(StorageFull):  # between passages and documents
        library.add_documents([document("late", "what was not made visible")])
    assert library.store.counts()["passages"] > before
    assert library.stats().passages == before


def test_stats_and_compact(library, files):
    library.add([files])
    before = library.stats()
    assert (before.documents, before.passages, before.revisions, before.encoder) == (4, 4, 0, "none")
    library.compact()
    assert library.stats().documents == 4
    assert json.dumps(before.bytes)


@pytest.mark.parametrize("name", ["headings", "fixed", "texttiling"])
def test_every_segmenter_without_vectors_can_be_a_librarys(tmp_path, name):
    settings = Settings(home=tmp_path, cache=Settings.load().cache, segmenter=name)
    library = Library.open(settings=settings, encoder="none")
    library.add_documents(list(manual())[:3])
    for hit in library.search("the", 50):
        assert library.get(hit.passage.span.document_id).quote(hit.passage.span) == hit.passage.text


@pytest.mark.model
@pytest.mark.parametrize("name", SEGMENTERS)
def test_with_the_real_encoder_meaning_finds_what_words_do_not(tmp_path, name):
    library = Library.open(settings=Settings(home=tmp_path, cache=Settings.load().cache, segmenter=name))
    texts = {
        "eyes": "The fovea is the small part of the retina that sees sharply.",
        "ears": "The cochlea turns sound into nerve signals.",
        "bread": "Knead the dough and let it rise before it goes into the oven.",
    }
    library.add_documents([document(name, text) for name, text in texts.items()])
    hits = library.search("how do humans hear?", 1)
    assert library.get(hits[0].passage.span.document_id).title == "ears"
    assert hits[0].source == "hybrid"
    dense = library.search("baking a loaf", 3, retriever="dense")
    assert library.get(dense[0].passage.span.document_id).title == "bread"
    assert dense[0].score > dense[1].score


@pytest.mark.model
def test_a_question_in_another_language_is_answered_sanely(tmp_path):
    library = Library.open(settings=Settings(home=tmp_path, cache=Settings.load().cache))
    library.add_documents(
        [document("zh", "北京大学的研究人员发现了新方法。"), document("en", "Bread rises in the oven.")]
    )
    assert "北京" in library.search("研究人员", 1)[0].passage.text
    assert len(library.search("Où est le four à pain ?", 2)) == 2


@pytest.mark.model
def test_an_encoder_folder_is_found_from_anywhere(tmp_path, monkeypatch):
    from foveal.models import load_encoder

    folder = Path(load_encoder("minilm").folder)
    monkeypatch.chdir(folder.parent)
    settings = Settings(home=tmp_path, cache=Settings.load().cache)
    Library.open(settings=settings, encoder=folder.name).add_documents([document("a", "some text")])
    monkeypatch.chdir("/")
    assert Library.open(settings=settings).search("text", 1)


def test_a_folder_without_a_model_is_no_encoder(own_settings, tmp_path):
    with pytest.raises(ModelUnavailable, match="holds no model"):
        Library.open(settings=own_settings, encoder=str(tmp_path))
    assert not own_settings.library.exists()


@pytest.mark.slow
def test_half_a_character_in_a_query_is_some_mark(own_settings):
    library = Library.open(settings=own_settings)
    library.add_documents([Document.of("test:mill", "The mill grinds barley.", "Mill")])
    for name in ("lexical", "dense", "hybrid"):
        assert library.search("mill \udcff barley", retriever=name)[0].passage.text == "The mill grinds barley."


def test_two_first_openings_make_one_library(own_settings, files):
    code = f"""
from foveal.library import Library
from foveal.settings import Settings
from pathlib import Path
settings = Settings(home=Path({str(own_settings.home)!r}), cache=Path({str(own_settings.cache)!r}))
library = Library.open(settings=settings, encoder="none")
"""
    children = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(4)]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0 or "LibraryBusy" in said, said
    assert 0 in {child.returncode for child in children}
    Library.open(settings=own_settings, encoder="none").add([files])


def test_segmenters_that_need_vectors_say_so():
    with pytest.raises(InputError, match="needs an encoder, such as minilm"):
        make_segmenter("dp", None)


@pytest.mark.parametrize("read", [12, 40, 64, 81, 82, 256])
def test_headings_fit_encoders_that_read_little(read):
    encoder = HashedWords(max_tokens=read)
    made = make_segmenter("headings", encoder)
    assert made.max_tokens == (read - 42 if read >= 82 else (read - 2) // 2)
    text = "# Title\n\n" + "\n\n".join(f"## Part {n}\n\n" + "Some words of a sentence. " * n for n in range(1, 30))
    passages = made.segment(Document.of("test:parts", text, "Title"))
    assert "".join(one.text for one in passages) == text
    assert max(len(encoder.token_offsets(one.text)) for one in passages) <= made.max_tokens


def test_an_encoder_that_reads_nothing_fits_no_segmenter():
    with pytest.raises(InputError, match="the encoder reads 3 tokens"):
        make_segmenter("headings", HashedWords(max_tokens=3))


names = st.sampled_from(["a.txt", "b.md", "c.txt"])
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40).filter(
    str.strip
)


@settings(max_examples=10)
@given(st.lists(st.one_of(st.tuples(names, texts), st.tuples(names, st.none())), min_size=1, max_size=6))
def test_the_library_follows_its_folder(tmp_path_factory, edits):
    root: Path = tmp_path_factory.mktemp("follow")
    folder = root / "files"
    folder.mkdir()
    library = Library.open(settings=Settings(home=root / "home", cache=Settings.load().cache), encoder="none")
    for name, text in edits:
        if text is None:
            (folder / name).unlink(missing_ok=True)
            if any(entry.source.endswith(name) for entry in library.documents()):
                library.remove(str(folder / name))
        else:
            (folder / name).write_text(text, encoding="utf-8", newline="")
            library.add([folder])
    held = {Path(entry.source).name: library.get(entry.id).text for entry in library.documents()}
    assert held == {path.name: path.read_bytes().decode() for path in folder.iterdir()}


class Watched(OwnWork):
    """Work that says when nobody waits for its documents any more."""

    ended = False

    def load(self, *given):
        try:
            yield from super().load(*given)
        finally:
            self.ended = True


def test_loading_ends_where_adding_does(library, files):
    def stop(_):
        raise KeyboardInterrupt

    work = Watched(library)
    with pytest.raises(KeyboardInterrupt) as broken:  # whoever holds the error holds all that was under way
        library.add([files], work=work, on_progress=stop)
    assert work.ended
    assert broken.tb


def test_each_document_that_is_read_is_told_and_then_how_much_of_them_is_encoded(own_settings, tmp_path):
    for n in range(5):
        (tmp_path / f"{n}.txt").write_text("A word to each line.\n\n" * 400)
    library = Library.open(settings=own_settings, encoder="none")
    read, encoded = list[int](), list[tuple[int, int]]()

    def told(report):
        read.append(report.sources_read)
        if report.sources_read == report.sources:
            encoded.append((max(report.passages, report.encoded), report.cut))

    report = library.add([tmp_path / f"{n}.txt" for n in range(5)], on_progress=told)
    assert read[:5] == [0, 1, 2, 3, 4]  # while they are read, and not only once all are
    assert encoded[-1] == (report.passages, report.cut)
    assert report.passages == report.cut > 5
    assert encoded[0][0] < encoded[0][1]  # there is something left to wait for


def test_the_pages_of_a_long_source_are_told_while_it_is_read(library, tmp_path, monkeypatch):
    monkeypatch.setattr(adding, "LONG_S", 0.0)
    (tmp_path / "a b.epub").write_bytes(epub({f"{n}.xhtml": f"<p>Chapter {n}.</p>" for n in range(3)}))
    (tmp_path / "c.txt").write_text("No pages here.")
    told = list[str]()

    def hear(report):
        told.append(f"{report.part.name} {report.part.read}/{report.part.of}" if report.part else "-")

    report = library.add([tmp_path / "a b.epub", tmp_path / "c.txt"], on_progress=hear)
    assert told[:3] == ["a b.epub 1/3", "a b.epub 2/3", "a b.epub 3/3"]
    assert set(told[3:]) == {"-"}
    assert len(report.added) == 2

    def stop(report):
        if report.part and report.part.read == 2:
            raise Cancelled("Stopped.")

    (tmp_path / "d.epub").write_bytes(epub({f"{n}.xhtml": f"<p>Part {n}.</p>" for n in range(3)}))
    with pytest.raises(Cancelled):
        library.add([tmp_path / "d.epub"], on_progress=stop)
    assert len(library.documents()) == 2
    monkeypatch.setattr(adding, "LONG_S", 60.0)
    told.clear()
    library.add([tmp_path / "d.epub"], on_progress=hear)
    assert set(told) == {"-"}  # what takes no time needs no telling


def test_no_name_is_not_the_folder_that_one_is_in(library, files, monkeypatch):
    library.add([files])
    monkeypatch.chdir(files)
    for nothing in ("", " "):
        with pytest.raises(UnknownDocument, match="Nothing was named"):
            library.remove(nothing)
    assert len(library.documents()) == 4
    assert len(library.find(".")) == 4


@pytest.mark.parametrize("query", [None, 5, b"rods", ["rods"]], ids=["none", "number", "bytes", "list"])
def test_a_query_that_is_no_text_is_refused(library, query):
    with pytest.raises(InputError, match="A query has to be one text"):
        library.search(query)


NO_TEXT = {
    "ask": lambda library, _: library.ask(None),
    "where": lambda library, _: library.search("rods", where=5),
    "several where": lambda library, _: library.documents([5]),
    "retriever": lambda library, _: library.search("rods", retriever=5),
    "get": lambda library, _: library.get(None),
    "get a path": lambda library, _: library.get(library.settings.home),
    "get an entry": lambda library, entry: library.get(entry),
    "remove": lambda library, _: library.remove(None),
    "rename": lambda library, entry: library.rename(entry, None),
    "rename nothing": lambda library, _: library.rename(None, "Rods"),
    "add": lambda library, _: library.add([5]),
    "add no list": lambda library, _: library.add(None),
    "open": lambda _, __: Library.open(123),
    "open no folder": lambda _, __: Library.open([]),
}


@pytest.mark.parametrize("wrong", NO_TEXT.values(), ids=NO_TEXT)
def test_what_is_no_text_is_refused_by_an_error_that_says_so(library, wrong):
    library.add_documents([document("rods", "The rods see at night.")])
    with pytest.raises(InputError, match=r"got (None|5|123|\[\]|\w+\()"):
        wrong(library, library.documents()[0])
    assert [entry.title for entry in library.documents()] == ["rods"]


CALLS = {
    "open settings": lambda _, wrong: Library.open(settings=wrong),
    "open encoder": lambda library, wrong: Library.open(settings=library.settings, encoder=wrong),
    "open segmenter": lambda library, wrong: Library.open(settings=library.settings, segmenter=wrong),
    "add, told": lambda library, wrong: library.add([], on_progress=wrong),
    "add, work": lambda library, wrong: library.add([], work=wrong),
    "add_documents": lambda library, wrong: library.add_documents(wrong),
    "add_documents, one": lambda library, wrong: library.add_documents([wrong]),
    "add_documents, told": lambda library, wrong: library.add_documents([], on_progress=wrong),
    "search, k": lambda library, wrong: library.search("rods", wrong),
    "search, rank": lambda library, wrong: library.search("rods", rank=wrong),
    "search, candidates": lambda library, wrong: library.search("rods", rank="knrm", candidates=wrong),
    "search, budget": lambda library, wrong: library.search("rods", rank="knrm", budget_ms=wrong),
    "explain": lambda library, wrong: library.explain(wrong, []),
    "explain, hits": lambda library, wrong: library.explain("rods", wrong),
    "explain, hit": lambda library, wrong: library.explain("rods", [wrong]),
    "explain, ranker": lambda library, wrong: library.explain("rods", [], wrong),
    "explain, counts": lambda library, wrong: library.explain("rods", [], counts=wrong),
    "explain, seconds": lambda library, wrong: library.explain("rods", [], seconds=wrong),
    "retriever": lambda library, wrong: library.retriever(wrong),
    "read": lambda library, wrong: library.read("rods", wrong),
    "read, model": lambda library, wrong: library.read("rods", "?", model=wrong),
    "read, settings": lambda library, wrong: library.read("rods", "?", settings=wrong),
    "read, state": lambda library, wrong: library.read("rods", "?", state=wrong),
    "ask, told": lambda library, wrong: library.ask("rods", on_event=wrong),
    "ask, model": lambda library, wrong: library.ask("rods", model=wrong),
    "ask, reader": lambda library, wrong: library.ask("rods", reader=wrong),
    "ask, settings": lambda library, wrong: library.ask("rods", settings=wrong),
    "ask, cancel": lambda library, wrong: library.ask("rods", cancel=wrong),
    "documents": lambda library, wrong: library.documents(wrong),
    "entries": lambda library, wrong: library.entries(wrong),
    "entries, one": lambda library, wrong: library.entries([wrong]),
    "get, revision": lambda library, wrong: library.get(library.documents()[0].id, revision=wrong),
    "only": lambda library, wrong: library.only(wrong),
    "find": lambda library, wrong: library.find(wrong),
    "remove": lambda library, wrong: library.remove(wrong),
    "remove, one": lambda library, wrong: library.remove([wrong]),
    "rename": lambda library, wrong: library.rename(wrong, "Rods"),
    "encode_anew": lambda library, wrong: library.encode_anew(wrong),
    "encode_anew, told": lambda library, wrong: library.encode_anew("none", on_progress=wrong),
    "reads": lambda library, wrong: library.reads(wrong),
    "reads, retriever": lambda library, wrong: library.reads("rods", wrong),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_argument_of_another_kind_is_refused_by_an_error_of_ours(library, call):
    library.add_documents([document("rods", "The rods see at night.")])
    for wrong in (b"x", {5.5: "a"}, [object()], object()):
        with pytest.raises(InputError, match=r"got"):
            call(library, wrong)
    assert [entry.title for entry in library.documents()] == ["rods"]


def test_what_was_expected_in_its_place_is_said(library):
    with pytest.raises(InputError, match=r"remove got, in a list, 'rods'; it needs an Entry, as `find` gives them\."):
        library.remove(["rods"])
    with pytest.raises(InputError, match=r"got, in a list, 5; it needs a Document, as Document\.of\("):
        library.add_documents([5])
    with pytest.raises(InputError, match=r"get got revision = 5; it needs a text \(a str\), or None\."):
        library.get("rods", revision=5)
    with pytest.raises(InputError, match="entries got 'rods'; it needs a list, each item of it a text"):
        library.entries("rods")
    with pytest.raises(TypeError, match="unexpected keyword argument 'revison'") as told:
        library.get("rods", revison="5")  # a misspelt name is Python's to tell, and once
    assert told.value.__context__ is None


def test_to_look_at_an_argument_computes_nothing_of_it(library):
    class Model:
        def render(self):
            raise AssertionError

        @property
        def fingerprint(self):
            raise AssertionError

    with pytest.raises(LibraryError, match="is empty"):
        next(library.ask_stream("rods", reader=Model()))


@pytest.mark.parametrize(("first", "then"), [("none", "minilm"), ("minilm", "none")])
def test_a_library_that_is_made_anew_is_followed(own_settings, first, then):
    held = Library.open(settings=own_settings, encoder=first)
    held.add_documents([document("rods", "The rods see at night.")])
    assert [hit.source for hit in held.search("rods", 1)] == ["lexical" if first == "none" else "hybrid"]
    shutil.rmtree(own_settings.library_uri)
    other = Library.open(settings=own_settings, encoder=then)
    other.add_documents([document("cones", "The cones tell colours apart.")])

    held.add_documents([document("fovea", "The fovea holds cones.")])
    found = [(hit.passage.text, hit.source) for hit in other.search("cones", 5)]
    assert len(found) == 2
    assert [(hit.passage.text, hit.source) for hit in held.search("cones", 5)] == found
    assert held.stats() == other.stats()


def test_an_empty_library_that_another_makes_with_an_encoder_is_followed(own_settings):
    held = Library.open(settings=own_settings, encoder="none")
    assert held.search("cones") == []
    other = Library.open(settings=own_settings, encoder="minilm")
    other.add_documents([document("cones", "The cones tell colours apart.")])
    assert held.retriever().search(["cones"], 1)[0][0].source == "hybrid"
