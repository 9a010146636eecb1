"""From what a person names to documents: paths, folders, links, sizes, and pages of the web."""

import gzip
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fpdf import FPDF
from servers import gzipped, page, serving

from foveal.errors import Cancelled, FetchFailed, InputError, UnreadableSource
from foveal.settings import expanded
from foveal.text.fetching import FetchSettings
from foveal.text.files import file_address
from foveal.text.loading import LoadSettings, Skipped, Source, discover, load, read_document, readable
from foveal.types import Document, document_id

HERE = LoadSettings(fetch=FetchSettings(allow_private=True, timeout_s=5))
PROSE = "The fovea sees sharply, and the eye turns it to what matters. " * 5


def pdf(text):
    made = FPDF()
    made.add_page()
    made.set_font("helvetica", size=11)
    made.multi_cell(0, text=text)
    return bytes(made.output())


def names(found):
    return [Path(item.address).name for item in found]


# discover


def test_a_folder_is_read_to_the_bottom_in_order(tmp_path):
    for name in ("b.txt", "a/z.md", "a/B.html", "c/d/e/f.pdf", "notes", "x.py", "data.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("some words")
    found = list(discover([tmp_path]))
    assert names(found) == ["B.html", "z.md", "b.txt", "f.pdf", "data.csv", "notes", "x.py"]
    assert [item.kind for item in found] == ["html", "markdown", "text", "pdf", "text", "text", "code"]
    assert all(item.size == 10 for item in found)
    assert found[2].address == (tmp_path / "b.txt").resolve().as_uri()


def test_hidden_files_and_junk_are_left_out(tmp_path):
    for name in (".git/config", "node_modules/p/readme.md", "__pycache__/x.txt", ".secret.txt", ".d/a.txt", "seen.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("some words")
    assert names(discover([tmp_path])) == ["seen.txt"]
    everything = LoadSettings(include_hidden=True)
    assert names(discover([tmp_path], everything)) == ["a.txt", ".secret.txt", "seen.txt"]


def test_foveals_own_home_is_left_out_and_told_once(tmp_path):
    """Its key and settings are nobody's texts; what lies in it and is named itself (an upload) is read."""
    home = tmp_path / "notes" / "home"
    for path in (home / "secret.key", home / "uploads" / "ab" / "sent.txt", tmp_path / "notes" / "a.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some words")
    (tmp_path / "notes" / "link").symlink_to(home)
    settings = LoadSettings(home=home)
    read, told = discover([tmp_path / "notes"], settings)
    said = f"{home} is Foveal's own home, whose files are no documents. Name those in it that are to be read."
    assert told == Skipped(home.as_uri(), said)
    assert names([read, told]) == ["a.txt", "home"]
    assert names(discover([home / "uploads" / "ab" / "sent.txt"], settings)) == ["sent.txt"]
    assert "secret.key" in names(discover([tmp_path / "notes"], LoadSettings(home=tmp_path / "none")))


def test_links_are_followed_once_and_loops_end(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.txt").write_text("some words")
    (tmp_path / "real" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    (tmp_path / "b.txt").symlink_to(tmp_path / "real" / "a.txt")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    found = list(discover([tmp_path, tmp_path / "real" / "a.txt"]))
    assert [item for item in found if isinstance(item, Source)] == [
        Source((tmp_path / "real" / "a.txt").resolve().as_uri(), "text", 10)
    ]
    [gone] = [item for item in found if isinstance(item, Skipped)]
    assert "No such file" in gone.reason


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xlsb", b"PK\x03\x04", "Save it as .xlsx"),
        ("a.mobi", b"PK\x03\x04", "Convert it"),
        ("a.zip", b"PK\x03\x04", "Unpack it first"),
        ("a.tar.gz", b"\x1f\x8b\x08", "Unpack it first"),
        ("a.unknown", b"\x89PNG\r\n\x1a\n\0\0", "not text"),
        ("a.bin", bytes(range(256)), "not text"),
        ("a.txt", b"", "it is empty. Leave it out"),
        ("a.gz", b"not gzip", "is damaged"),
    ],
)
def test_what_is_not_read_is_said(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    [skipped] = discover([tmp_path])
    assert isinstance(skipped, Skipped)
    assert reason in skipped.reason
    with pytest.raises(UnreadableSource, match=reason):
        read_document(tmp_path / name)


@pytest.mark.parametrize("source", ["", "  "], ids=["empty", "blank"])
def test_an_empty_source_is_not_the_folder_one_stands_in(tmp_path, monkeypatch, source):
    (tmp_path / "private.txt").write_text("What nobody asked for.\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="A source is empty"):
        discover([source])
    with pytest.raises(InputError, match="A source is empty"):
        read_document(source)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    [skipped] = discover([tmp_path])
    assert "no ordinary file" in skipped.reason
    with pytest.raises(InputError, match="neither a file nor a folder"):
        discover([tmp_path / "pipe.txt"])


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%PDF-1.7\n...", "pdf"),
        (b"<!DOCTYPE html><p>x", "html"),
        (b"\xef\xbb\xbf\n <!-- c -->\n<HTML>", "html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "html"),
        (b"\\documentclass{article}", "text"),
        ("caf\xe9".encode("latin-1"), "text"),
        ("words".encode("utf-16"), "text"),
        ("wör".encode()[:-1] + b"\xc3", "text"),
    ],
)
def test_an_unknown_ending_is_told_by_the_first_bytes(tmp_path, head, kind):
    (tmp_path / "file").write_bytes(head)
    assert next(discover([tmp_path / "file"])).kind == kind


def test_a_path_that_is_not_there_is_an_error_at_once(tmp_path):
    with pytest.raises(InputError, match=r"There is no file or folder .*missing\.txt.*Check its spelling"):
        discover([tmp_path / "missing.txt"])


@pytest.mark.parametrize("name", ["~$report.txt", "~nobody-is-called-so", "~\0"])
def test_a_name_that_begins_as_a_home_and_is_none_is_a_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert expanded(name) == Path(name)
    with pytest.raises(InputError, match="There is no file or folder"):
        discover([name])
    if "\0" not in name:
        (tmp_path / name).write_text("some words")
        assert next(discover([name])).address == (tmp_path / name).resolve().as_uri()


def test_a_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert expanded("~/notes") == Path("/home/ada/notes")


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_what_cannot_be_a_path_has_no_address(name):
    with pytest.raises(InputError, match="cannot be a file"):
        file_address(Path(name))


@pytest.mark.parametrize(
    "given", ["ftp://example.org/a", "s3://bucket/key", "arxiv:what", "https://", "https://me:pw@example.org/"]
)
def test_an_address_of_another_kind_is_an_error_at_once(given):
    with pytest.raises(InputError):
        discover([given])


def test_a_password_in_an_address_is_not_repeated():
    with pytest.raises(InputError) as error:
        discover(["https://me:hunter2@example.org/"])
    assert "hunter2" not in str(error.value)


def test_a_lone_string_is_an_error():
    with pytest.raises(InputError, match="needs a list"):
        discover("file.txt")


@pytest.mark.parametrize(
    ("given", "source"),
    [
        ("HTTPS://Example.org/A?b=C#part", Source("https://example.org/A?b=C", "url")),
        ("arxiv:2103.00020", Source("arxiv:2103.00020", "arxiv")),
        ("arXiv: hep-th/9901001v2", Source("arxiv:hep-th/9901001v2", "arxiv")),
        ("https://arxiv.org/abs/2103.00020v1", Source("arxiv:2103.00020v1", "arxiv")),
        ("http://www.arxiv.org/pdf/2103.00020.pdf", Source("arxiv:2103.00020", "arxiv")),
        ("https://arxiv.org/list/cs.CL/recent", Source("https://arxiv.org/list/cs.CL/recent", "url")),
    ],
)
def test_addresses_of_the_web(given, source):
    assert list(discover([given, given])) == [source]


def test_a_file_uri_is_a_path(tmp_path):
    path = tmp_path / "näme with space#.txt"
    path.write_text("some words")
    [source] = discover([path.as_uri()])
    assert next(load(source)).title == "näme with space#"


def test_a_name_that_is_no_utf8_still_loads(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.txt"
    Path(os.fsdecode(path)).write_text("some words")
    [source] = discover([tmp_path])
    document = next(load(source))
    assert document.title == "caf\ufffd"
    (source.address + document.title).encode()


def test_a_title_from_a_name_is_one_line(tmp_path):
    (tmp_path / "two\nlines.txt").write_text("some words")
    [source] = discover([tmp_path])
    assert next(load(source)).title == "two lines"


# load


def test_a_text_file_is_kept_unchanged(tmp_path):
    path = tmp_path / "my notes.v2.txt"
    path.write_bytes(b"\xef\xbb\xbf  one\r\ntwo\rthree \n\n")
    document = read_document(path)
    address = path.resolve().as_uri()
    expected = Document.of(
        address, "  one\r\ntwo\rthree \n\n", "my notes.v2", metadata={"source": address, "kind": "text"}
    )
    assert document == expected
    assert document.id == document_id(address)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n\n# The *real* `title` [here](x)\n\n## Not", "The real title here"),
        ("Set\nheading\n===\n", "Set heading"),
        ("```\n# comment\n```\n\n## After code", "After code"),
        ('---\ntitle: "From the matter"\ndate: 2024-05-06\n---\n# Other', "From the matter"),
        ("---\r\ntitle: >-\r\n  From the\r\n  matter\r\ndate: 2024-05-06\r\n---\r\n# Other", "From the matter"),
        ("---\ntitle: The dogs'\ndate: 2024-05-06\n---\n# Other", "The dogs'"),
        ("---\nlang: de\n---\n# Heading", "Heading"),
        ("no heading", "file"),
    ],
)
def test_the_title_of_markdown(tmp_path, text, title):
    (tmp_path / "file.md").write_text(text)
    document = read_document(tmp_path / "file.md")
    assert (document.title, document.text) == (title, text)
    assert document.published_at == (datetime(2024, 5, 6, tzinfo=UTC) if "date:" in text else None)


def test_html_and_pdf_files(tmp_path):
    (tmp_path / "a.html").write_text(f"<title>Sight</title><body><h1>Sight</h1><p>{PROSE}</p></body>")
    (tmp_path / "b.pdf").write_bytes(pdf("Seeing with words\n" + PROSE))
    first, second = (next(load(source)) for source in discover([tmp_path]))
    assert first.title == "Sight"
    assert first.text.startswith("# Sight\n\nThe fovea")
    assert second.title == "Seeing with words"
    assert second.pages == (0,)
    assert second.metadata["kind"] == "pdf"


def test_gzip_is_read_through_by_any_kind(tmp_path):
    for name, content in (
        ("a.txt.gz", b"plain words"),
        ("b.html.gz", b"<title>T</title><p>words"),
        ("c.gz", b"inside"),
    ):
        (tmp_path / name).write_bytes(gzip.compress(content))
    documents = [next(load(source)) for source in discover([tmp_path])]
    assert [document.text for document in documents] == ["plain words", "words", "inside"]
    assert [document.title for document in documents] == ["a", "T", "c"]


def test_a_sparse_gigabyte_is_refused_at_once(tmp_path):
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(2**30)
    start = time.monotonic()
    with pytest.raises(UnreadableSource, match=r"1,073,741,824 bytes; at most 268,435,456 .*LoadSettings\.max_bytes"):
        read_document(path)
    assert time.monotonic() - start < 0.5


@pytest.mark.parametrize("name", ["a.txt.gz", "a.html.gz"])
def test_a_gzip_bomb_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(b"word " * 2**20))
    with pytest.raises(UnreadableSource, match=r"more than 100,000 bytes.*max_bytes"):
        read_document(tmp_path / name, LoadSettings(max_bytes=100_000))


def test_the_limit_itself_is_allowed(tmp_path):
    (tmp_path / "a.txt").write_text("x" * 1000)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"x" * 1000))
    assert [len(next(load(s, LoadSettings(max_bytes=1000))).text) for s in discover([tmp_path])] == [1000, 1000]


def test_a_file_that_goes_away_in_between(tmp_path):
    (tmp_path / "a.txt").write_text("some words")
    [source] = discover([tmp_path])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(UnreadableSource, match="cannot be read: No such file"):
        list(load(source))


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"  \n", "holds no text"),
        ("a.txt", b"\0\1\2\3" * 9, "NUL bytes"),
        ("a.md", b"%PDF-1.4\0", "by its first bytes it is a PDF"),
        ("a.pdf", b"<html>not a pdf</html>", "does not begin as one"),
        ("a.html", b"<html><body></body></html>", "holds no text"),
    ],
)
def test_a_file_that_is_not_what_it_is_called(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableSource, match=reason):
        read_document(tmp_path / name)


def test_one_document_is_asked_for(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n')
    with pytest.raises(InputError, match="exactly one document"):
        read_document(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="exactly one document"):
        read_document(tmp_path)
    assert read_document(tmp_path / "b.jsonl").text == "one"


def test_a_kind_that_is_none():
    with pytest.raises(InputError, match="There are: text, code, markdown, html"):
        load(Source("file:///x", "poem"))


class Failing:
    """A caller who is asked whether to stop, and fails."""

    def __init__(self, error):
        self.error = error

    def check(self):
        raise self.error


def failing(error):
    return LoadSettings(fetch=FetchSettings(cancel=Failing(error)))


def test_a_source_that_fails_by_our_fault_is_skipped_and_logged(caplog):
    source = Source("https://example.org/a", "url")
    [skipped] = readable(source, failing(ZeroDivisionError("by nothing")))
    assert skipped.address == source.address
    assert "a fault of ours (ZeroDivisionError: by nothing)" in skipped.reason
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]


def test_a_source_that_says_in_words_why_it_fails_is_skipped_without_a_traceback(caplog):
    [skipped] = readable(Source("file:///x", "poem"))
    assert "A source of kind 'poem' cannot be read" in skipped.reason
    assert caplog.records == []


@pytest.mark.parametrize("error", [Cancelled, MemoryError, KeyboardInterrupt])
def test_what_ends_the_whole_add_is_passed_on(error):
    with pytest.raises(error):
        list(readable(Source("https://example.org/a", "url"), failing(error())))


@pytest.mark.parametrize("limit", [0, -1])
def test_settings_are_checked(limit):
    with pytest.raises(InputError, match="max_bytes"):
        LoadSettings(max_bytes=limit)


# pages of the web


def test_what_a_page_is_decides_how_it_is_read():
    routes = {
        "/a": page(
            f"<title>Sight</title><body><h1>Sight</h1><p>{PROSE}ü</p></body>".encode("latin-1"),
            "text/html; charset=latin-1",
        ),
        "/b": page(pdf("Seeing with words\n" + PROSE), "application/octet-stream"),
        "/c.md": page("# Mark\n\ndown", "text/plain; charset=utf-8"),
        "/d": page('{"id": 1, "text": "one"}\n{"id": 2, "text": "two"}', "application/x-ndjson"),
        "/e": gzipped("plain wörds".encode("cp1252"), "text/plain; charset=iso-8859-1"),
        "/f%20g.json": page('{"a": 1}', "application/json"),
    }
    with serving(routes) as server:
        loaded = {path: [*load(Source(server.url(path), "url"), HERE)] for path in routes}
        assert loaded["/a"][0].text.endswith("matters. ü")
        assert [loaded[path][0].title for path in ("/a", "/b", "/c.md", "/e", "/f%20g.json")] == [
            *("Sight", "Seeing with words", "Mark", "e", "f g.json")
        ]
        kinds = [loaded[path][0].metadata["kind"] for path in routes]
        assert kinds == ["html", "pdf", "markdown", "url", "text", "code"]
        assert loaded["/e"][0].text == "plain wörds"
        assert [document.text for document in loaded["/d"]] == ["one", "two"]
        for path in ("/a", "/b"):
            [document] = loaded[path]
            assert document.id == document_id(server.url(path))
            assert document.url == document.metadata["source"] == server.url(path)


def test_a_page_that_is_no_text_or_too_large():
    sound, picture = page(b"RIFF\0", "audio/wav"), page(b"\x89PNG\0", "image/png")
    with serving({"/sound": sound, "/image": picture, "/large": page(PROSE)}) as server:
        with pytest.raises(UnreadableSource, match="is audio/wav, which is not read"):
            read_document(server.url("/sound"), HERE)
        with pytest.raises(UnreadableSource, match=r"is no picture that can be read: it is damaged"):
            read_document(server.url("/image"), HERE)
        with pytest.raises(FetchFailed, match="more than 100 bytes"):
            read_document(server.url("/large"), LoadSettings(max_bytes=100, fetch=HERE.fetch))


# the module


def test_importing_is_light():
    heavy = "{'httpx', 'lxml', 'trafilatura', 'pypdfium2', 'markdown_it', 'charset_normalizer', 'torch'}"
    code = f"import foveal.text.loading, sys; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"set()"
