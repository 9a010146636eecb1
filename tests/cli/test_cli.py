"""The command line: what a person types, what is printed, how it ends."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest
from fpdf import FPDF

from foveal.cli import main, output
from foveal.cli.hits import hit_text
from foveal.cli.segment import headed_parts, opened_levels
from foveal.library import Library
from foveal.registry import BENCHES, RETRIEVERS, SEGMENTERS
from foveal.retrieval import store
from foveal.text.segment_tree import Segment
from foveal.types import Passage, Span

FOVEAL = [sys.executable, "-c", "from foveal.cli.main import run; run()"]
PLAIN = {"COLUMNS": "120", "NO_COLOR": "1"}


class Said(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


def typed(*arguments: object, home: Path, status: int = 0) -> Said:
    """The command in a process of its own, as a person starts it; `run` does the same in a tenth of the time."""
    env = {**os.environ, "FOVEAL_HOME": str(home), **PLAIN}
    done = subprocess.run([*FOVEAL, *map(str, arguments)], env=env, capture_output=True, text=True, timeout=300)
    return _checked(Said(done.stdout, done.stderr), done.returncode, status)


def run(*arguments: object, home: Path, status: int = 0) -> Said:
    """The command in this process, by its entry point, with nobody at the keyboard."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    env = {"FOVEAL_HOME": str(home), **PLAIN}
    with (
        patch.dict(os.environ, env),
        patch.object(sys, "argv", ["foveal", *map(str, arguments)]),
        patch.object(sys, "stdin", io.StringIO()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main.run()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return _checked(Said(out.getvalue(), err.getvalue()), code, status)


def _checked(said: Said, code: int, status: int) -> Said:
    assert code == status, said.stdout + said.stderr
    assert "Traceback" not in said.stderr
    return said


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "eyes.md").write_text("# Eyes\n\nThe fovea is the small part of the retina that sees sharply.\n")
    (folder / "ears.txt").write_text("The cochlea turns sound into nerve signals.\n")
    (folder / "noise.bin").write_bytes(bytes(range(256)) * 9)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("home")
    run("add", files, "--encoder", "none", home=folder)
    return folder


def test_add_reports_what_it_did_and_what_it_skipped(tmp_path, files):
    done = typed("add", files, "--encoder", "none", home=tmp_path)
    assert "2 added, 1 skipped" in done.stdout
    assert "noise.bin" in done.stderr
    again = json.loads(run("add", files, "--json", home=tmp_path).stdout)
    assert (again["added"], again["unchanged"], len(again["skipped"])) == ([], 2, 1)


def test_search_shows_the_passage_and_its_place(home, files):
    shown = run("search", "fovea", home=home).stdout
    assert "1. Eyes" in shown
    assert "The fovea is the small part of the retina that sees sharply." in shown
    found = json.loads(run("search", "fovea", "--json", home=home).stdout)["hits"][0]
    text = (files / "eyes.md").read_text()
    assert text[found["span"]["start"] : found["span"]["end"]] == found["quote"]
    assert found["source"].endswith("eyes.md")


@pytest.mark.parametrize(("longest", "lines"), [(80, 2), (124, 2), (150, 4)])
def test_lines_that_are_hardly_longer_than_one_are_not_broken(tmp_path, longest, lines):
    (tmp_path / "wide.txt").write_text("\n".join("fovea " + "word " * (longest // 5 - 1) for _ in range(2)))
    run("add", tmp_path / "wide.txt", "--encoder", "none", home=tmp_path / "home")
    shown = run("search", "fovea", "--full", home=tmp_path / "home").stdout
    assert sum("word" in line for line in shown.splitlines()) == lines


def test_words_are_marked_that_were_found_by_their_stems(home):
    library = Library.open(home)
    hit = library.search("signalling")[0]
    entry = library.entries([hit.passage.span.document_id])[hit.passage.span.document_id]
    shown = hit_text(1, hit, entry, "the signalling", full=False)
    assert [shown.plain[one.start : one.end] for one in shown.spans if one.style == "yellow"] == ["signals"]


def test_each_document_can_be_shown_once(tmp_path):
    (tmp_path / "long.txt").write_text(
        "\n\n".join(f"The fovea sees {n} things. " + "More words. " * 60 for n in range(9))
    )
    (tmp_path / "short.txt").write_text("A fovea is here, in one line of many others that say nothing of it at all.")
    run("add", tmp_path / "long.txt", tmp_path / "short.txt", "--encoder", "none", home=tmp_path / "home")

    def titles(*more: str) -> list[str]:
        found = json.loads(run("search", "fovea things", "-k", "3", "--json", *more, home=tmp_path / "home").stdout)
        return [hit["title"] for hit in found["hits"]]

    assert titles() == ["long"] * 3
    assert titles("--documents") == ["long", "short"]


def test_a_hit_can_be_shown_by_its_place(home):
    found = json.loads(run("search", "cochlea", "--json", home=home).stdout)["hits"][0]
    place = f"{found['span']['start']}:{found['span']['end']}"
    shown = run("show", found["span"]["document_id"][:8], "--span", place, home=home).stdout
    assert shown == found["quote"] + "\n"
    assert run("show", found["span"]["document_id"], "--span", "5:999999", home=home, status=2)


def test_list_stats_and_remove(tmp_path, files):
    run("add", files, "--encoder", "none", home=tmp_path)
    assert len(json.loads(run("list", "--json", home=tmp_path).stdout)) == 2
    assert "Eyes" in run("list", home=tmp_path).stdout
    assert json.loads(run("stats", "--json", home=tmp_path).stdout)["documents"] == 2
    assert "documents" in run("stats", home=tmp_path).stdout
    run("remove", files, home=tmp_path, status=1)  # nobody said yes
    assert "Removed 2 documents" in run("remove", files, "--yes", home=tmp_path).stdout
    assert "empty" in run("list", home=tmp_path).stdout


def test_what_is_shown_begins_and_ends_with_a_sentence_or_says_that_it_does_not(tmp_path):
    told = [f"Sentence {n} of the book\nspeaks of eyes and of what they see, and it goes on.\n" for n in range(40)]
    (tmp_path / "a.txt").write_text("".join(told))
    (tmp_path / "b.txt").write_text("\n".join(f"row {n} of a table without any end of a sentence" for n in range(40)))
    run("add", tmp_path / "a.txt", tmp_path / "b.txt", "--encoder", "none", home=tmp_path / "home")
    body = run("search", "Sentence 27", "-k", "1", home=tmp_path / "home").stdout.split("\n", 2)[2].strip()
    assert body.startswith("Sentence ")
    assert body.endswith("and it goes on.")
    body = run("search", "row 27", "-k", "1", home=tmp_path / "home").stdout.split("\n", 2)[2].strip()
    assert body.startswith("… row ")
    assert body.endswith("sentence …")
    why = run("search", "row 27", "-k", "1", "--explain", home=tmp_path / "home").stdout.split("\n", 2)[2].strip()
    assert why.startswith(body.removesuffix(" …")[:40])


def test_titles_that_look_like_markup_are_shown_as_they_are(tmp_path):
    (tmp_path / "a.md").write_text("# [draft] A [/b] title\n\nSome text on [bold]salt[/].\n")
    run("add", tmp_path / "a.md", "--encoder", "none", home=tmp_path / "home")
    assert "[draft] A [/b] title" in run("list", home=tmp_path / "home").stdout
    assert "on [bold]salt[/]." in run("search", "salt", home=tmp_path / "home").stdout
    assert "[draft]" in run("segment", tmp_path / "a.md", "--encoder", "none", home=tmp_path / "home").stdout


def test_the_place_shown_is_the_place_of_what_is_shown(tmp_path):
    lines = [f"line {i}\tof a long-winded   text " + "with many words " * (i % 12) for i in range(60)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    run("add", tmp_path / "a.txt", "--encoder", "none", home=tmp_path / "home")
    shown = run("search", "line 37", "-k", "1", home=tmp_path / "home").stdout
    identity, start, end = re.search(r"([0-9a-f]{8}) (\d+):(\d+)", shown).groups()
    exact = run("show", identity, "--span", f"{start}:{end}", home=tmp_path / "home").stdout
    body = "".join(line[3:] for line in shown.split("\n")[2:])
    assert [word for word in body.split() if word != "…"] == exact.split()
    assert "of a long-winded   text" in shown


def test_a_mistyped_source_makes_no_library(tmp_path):
    run("add", tmp_path / "tpyo", home=tmp_path / "home", status=1)
    assert not (tmp_path / "home").exists()


def test_nothing_found_is_an_answer(home):
    assert "Nothing found" in run("search", "xylophone", home=home).stdout
    slip = run("search", "xylophone", "--where", "kind=text", "--where", "autor=Ada", home=home)
    assert "No document has autor. Names to ask by:" in " ".join(slip.stderr.split())
    assert "No document has" not in run("search", "xylophone", "--where", "kind=text", home=home).stderr
    assert json.loads(run("search", "xylophone", "--json", home=home).stdout)["hits"] == []


def test_what_is_missing_from_an_empty_library_is_documents_and_not_other_words(tmp_path):
    (tmp_path / "a.txt").write_text("The fovea is where sight is sharpest.", encoding="utf-8")
    run("add", tmp_path / "a.txt", "--encoder", "none", home=tmp_path / "home")
    run("remove", tmp_path / "a.txt", home=tmp_path / "home")
    found = run("search", "fovea", "--where", "kind=text", home=tmp_path / "home")
    assert found.stdout == "Nothing found: the library is empty. Fill it: foveal add FILE_OR_FOLDER\n"
    assert "No document has" not in found.stderr


@pytest.mark.model
def test_a_query_that_the_encoder_does_not_know_is_said_to_be_one(tmp_path):
    (tmp_path / "a.txt").write_text("The fovea is where sight is sharpest.", encoding="utf-8")
    run("add", tmp_path / "a.txt", home=tmp_path / "home")
    found = run("search", "☃", home=tmp_path / "home")
    assert "Nothing found" in found.stdout
    assert "knows no token" in " ".join(found.stderr.split())
    assert "knows no token" not in run("search", "☃", "--retriever", "lexical", home=tmp_path / "home").stderr
    assert Library.open(tmp_path / "home").reads("☃", "late:mine")  # another model's matter


def test_in_a_large_library_a_sample_says_which_names_there_are(home, monkeypatch):
    """All documents' metadata took 15 seconds in a library of 300,000."""
    monkeypatch.setattr(store, "SAMPLED", 1)
    monkeypatch.setattr(store, "RUNS", 1)
    slip = run("search", "xylophone", "--where", "autor=Ada", home=home)
    assert "Of 1 documents that were looked at, none has autor. Names" in " ".join(slip.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["search", "x", "--home", "/nonexistent-home"], 1, "foveal add"),
        (["search", "fovea", "--retriever", "telepathy"], 1, "lexical, dense, hybrid"),
        (["search", "fovea", "--where", "colour"], 1, "is not understood"),
        (["search", "fovea", "-k", "0"], 2, "-k"),
        (["search", " "], 2, "query is empty"),
        (["add", "/nonexistent-file"], 1, "no file or folder"),
        (["show", "0123456789"], 1, "foveal list"),
        (["heads", "why?"], 2, "No such command"),
        (["research", "why?", "--home", "/nonexistent-home"], 1, "foveal add"),
        (["sarch", "x"], 2, "No such command"),
        (["bench", "everything"], 2, "search"),
        (["bench", "report-race", "--data", "/nonexistent-data"], 2, "deepresearch lacks criteria.jsonl"),
    ],
)
def test_errors_are_one_line_that_tells_what_to_do(home, arguments, status, said):
    done = run(*arguments, home=home, status=status)
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


def test_segment_covers_the_file(files, tmp_path):
    found = json.loads(run("segment", files / "eyes.md", "--encoder", "none", "--json", home=tmp_path).stdout)
    assert "".join(one["text"] for one in found) == (files / "eyes.md").read_text()
    assert "Eyes" in run("segment", files / "eyes.md", "--encoder", "none", home=tmp_path).stdout


def test_a_picture_of_a_tree_has_each_border_at_the_level_that_it_opens():
    """A part begins where the first of its own parts does."""

    def part(level, start, *parts):
        return Segment(Span("a", start, start + 1), None, level, 1.0, 1.0, "heading", parts)

    tree = (part(1, 0, part(2, 0), part(2, 30)), part(1, 50, part(2, 50, part(3, 50), part(3, 70))), part(1, 90))
    assert opened_levels(tree) == {0: 1, 30: 2, 50: 1, 70: 3, 90: 1}


@pytest.mark.parametrize(
    ("headings", "names"),
    [
        (["Book > One > a", "Book > One > b", "Book > Two", "Book"], ["One", "Two", "Book"]),
        ([None, "One", "One > a", "Two"], ["", "One", "Two"]),
        (["Book", "Book"], ["Book"]),
        ([], []),
    ],
)
def test_a_picture_names_the_highest_headings_of_which_there_are_several(headings, names):
    passages = [Passage(Span("a", at, at + 1), "x", heading) for at, heading in enumerate(headings)]
    found = headed_parts(passages)
    assert [name for _, _, name in found] == names
    assert [start for start, _, _ in found[1:]] == [end for _, end, _ in found[:-1]]


def test_models_lists_the_offline_ones(tmp_path):
    found = {one["name"]: one for one in json.loads(run("models", "--json", home=tmp_path).stdout)}
    assert found["minilm"]["installed"] is True
    assert "pip install" in run("models", home=tmp_path).stdout or all(one["installed"] for one in found.values())


@pytest.mark.parametrize(
    ("command", "names"),
    [("search", RETRIEVERS), ("segment", SEGMENTERS), ("bench", BENCHES)],
    ids=["search", "segment", "bench"],
)
def test_help_names_every_choice(tmp_path, command, names):
    shown = run(command, "--help", home=tmp_path).stdout
    assert [name for name in names if name not in shown] == []


@pytest.mark.parametrize("asks", [("research", "ask"), ("research", "watch", "add")])
def test_the_help_of_a_group_that_takes_a_question_names_the_help_of_its_options(tmp_path, asks):
    pointer = f"foveal {' '.join(asks)} --help"
    assert pointer in " ".join(run(*asks[:-1], "--help", home=tmp_path).stdout.split())
    assert "--source" in run(*asks, "--help", home=tmp_path).stdout


@pytest.mark.slow
def test_ctrl_c_during_add_ends_with_130_and_keeps_the_library_whole(tmp_path):
    (tmp_path / "texts").mkdir()
    for i in range(3000):
        (tmp_path / "texts" / f"{i}.txt").write_text(f"every note {i} " * 20)
    env = {**os.environ, "FOVEAL_HOME": str(tmp_path / "home"), "FOVEAL_FAULTS": "store.passages-written=sleep:60"}
    child = subprocess.Popen(
        [*FOVEAL, "add", str(tmp_path / "texts"), "--encoder", "none"], env=env, stderr=subprocess.PIPE, text=True
    )
    passages = tmp_path / "home" / "library" / "passages.lance" / "data"
    deadline = time.monotonic() + 60
    while not (passages.is_dir() and any(passages.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130, said
    assert "Stopped" in said
    done = json.loads(run("add", tmp_path / "texts", "--json", home=tmp_path / "home").stdout)
    assert len(done["added"]) + done["unchanged"] == 3000
    assert json.loads(run("stats", "--json", home=tmp_path / "home").stdout)["passages"] == 3000


def test_admin_compact(home):
    assert "before" in run("admin", "compact", home=home).stdout


@pytest.mark.slow
def test_logs_can_be_json(home, tmp_path):
    done = typed("--log-json", "-vv", "search", "fovea", home=home)
    for line in done.stderr.splitlines():
        assert {"time", "level", "logger", "message"} <= json.loads(line).keys()


def test_a_closed_pipe_is_no_error(home):
    env = {**os.environ, "FOVEAL_HOME": str(home)}
    command = " ".join(f"'{part}'" for part in FOVEAL)
    done = subprocess.run(f"{command} list | head -c 1", shell=True, env=env, capture_output=True, text=True)
    assert "Traceback" not in done.stderr


def test_what_is_piped_on_is_neither_cut_nor_drawn(monkeypatch, capsys):
    from rich.table import Table

    monkeypatch.delenv("COLUMNS", raising=False)
    title = "words of a long title " * 9
    table = Table("title", "source", box=None, pad_edge=False)
    table.add_row(title, "/some/long/path" * 9)
    output.results().print(table)
    output.results().print("a:on:b :key:", markup=False)
    output.notes().print("a:on:b :key:", markup=False)
    shown = capsys.readouterr()
    assert shown.out.splitlines()[1].split("/", 1) == [f"{title}  ", "some/long/path" + "/some/long/path" * 8]
    assert shown.out.splitlines()[2] == shown.err.strip() == "a:on:b :key:"


def test_a_part_is_named_once(home):
    one = json.loads(run("list", "--json", home=home).stdout)[0]["id"]
    assert "--span and --page" in run("show", one, "--span", "0:3", "--page", "1", home=home, status=2).stderr
    assert "a document with pages" in run("show", one, "--page", "3", home=home, status=2).stderr


def test_a_page_is_shown_by_what_is_printed_on_it(tmp_path):
    pdf = FPDF()
    pdf.set_font("helvetica", size=11)
    for number, said in enumerate(("Preface of mills.", "The keeper is Orsin Vale.", "The dam is of oak.")):
        pdf.add_page(**({"label_style": "D", "label_start": 1} if number == 1 else {"label_prefix": "x"}))
        pdf.cell(text=said)
    (tmp_path / "mills.pdf").write_bytes(pdf.output())
    home = tmp_path / "home"
    run("add", str(tmp_path / "mills.pdf"), home=home)
    show = ("show", str(tmp_path / "mills.pdf"))
    assert "Orsin Vale" in run(*show, "--printed", "1", home=home).stdout
    assert "Preface" in run(*show, "--page", "1", home=home).stdout
    for wrong in (["--printed", "77"], ["--printed", "1", "--page", "1"]):
        assert "--printed" in run(*show, *wrong, home=home, status=2).stderr
    found = ("search", "keeper", "--retriever", "lexical", "-k", "1")
    assert "page 1 (printed x)" in run(*found, home=home).stdout
    hit = json.loads(run(*found, "--json", home=home).stdout)["hits"][0]
    assert (hit["page"], hit["printed_page"]) == (1, "x")


def test_what_is_only_for_a_ranker_needs_one(home):
    for option in ("--candidates", "--budget"):
        assert "by --rank" in run("search", "fovea", option, "5", home=home, status=2).stderr


def test_a_path_or_a_disk_that_fails_is_one_line(home, tmp_path):
    assert "Is a directory" in run("papers", "export", "--all", "-o", tmp_path, home=home, status=1).stderr
    for command in (("research", "replay"), ("digest", "bounce"), ("ask", "fovea", "--model")):
        assert run(*command, "a" * 5000, home=home, status=1).stderr.startswith("Error: ")


def test_a_lifted_address_is_json_for_programs(tmp_path):
    told = run("admin", "subscriptions", "--lift", "ana@example.org", "--json", home=tmp_path)
    assert json.loads(told.stdout) == {"address": "ana@example.org", "lifted": False}


def test_a_folder_in_brackets_is_shown_as_it_is(home, tmp_path):
    place = tmp_path / "copy [of] [" / "b]"
    assert f"in {place}" in run("admin", "backup", place, home=home).stdout


def test_keys_that_are_no_text_are_no_grade(home):
    env = {**os.environ, "FOVEAL_HOME": str(home), **PLAIN, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run([*FOVEAL, "judge", "fovea"], env=env, input=b"\xff\ns\n", capture_output=True, timeout=300)
    assert (done.returncode, b"That is no grade" in done.stdout) == (0, True), done.stderr


def test_an_article_on_standard_input_may_be_of_any_encoding(home):
    env = {**os.environ, "FOVEAL_HOME": str(home), **PLAIN}
    article = "Der Bürgermeister eröffnet den Park.".encode("latin-1")
    done = subprocess.run([*FOVEAL, "headline", "judge", "Park", "-"], env=env, input=article, capture_output=True,
                          timeout=300)  # fmt: skip
    assert (done.returncode, "Bürgermeister eröffnet" in done.stdout.decode()) == (0, True), done.stderr


def test_a_model_of_the_home_that_is_named_is_found_by_its_name(tmp_path, files):
    made = tmp_path / "there" / "models" / "mine"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    said = run("add", files, "--encoder", "mine", "--home", tmp_path / "there", home=tmp_path / "other", status=1)
    assert str(made) in said.stderr  # found, and no encoder
    assert "No encoder is called 'mine'" in run("add", files, "--encoder", "mine", home=tmp_path, status=1).stderr


def test_errors_that_cause_each_other_come_to_an_end():
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert not main._by_ctrl_c(one)
    other.__cause__ = KeyboardInterrupt()
    assert main._by_ctrl_c(one)
