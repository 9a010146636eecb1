"""What a person sees on a terminal of 80 columns: passages, lists and answers that keep their form."""

from __future__ import annotations

import io
import json
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cli.test_cli import PLAIN, run
from cli.test_terminal import Terminal
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from foveal.cli.hits import INDENT, _cut_for, hit_text
from foveal.cli.models import WIDE
from foveal.cli.segment import shown_passages
from foveal.cli.terminal import PlainConsole
from foveal.models import OFFLINE
from foveal.retrieval.rows import Entry
from foveal.types import Hit, Passage, Span

WORDS = "The ferry leaves the quay at six and comes back at nine. "
CHINESE = "长城是中国古代的伟大工程，自西周时期开始修筑，延续两千多年。"
"""Letters that take two columns."""


def terminal(monkeypatch) -> Terminal:
    """Standard output as a terminal of 60 columns; in the test itself, since pytest sets its own before each."""
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys, "stdout", Terminal())
    return sys.stdout


def hit_of(text: str) -> tuple[Hit, Entry]:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    entry = Entry("d", "r", "Ferry", None, "file:///ferry.txt", None, (), {}, len(text), 1, when)
    return Hit(Passage(Span("d", 0, len(text)), text, None), 1.0, "lexical", "r"), entry


def unstyled(stream) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())


def test_a_line_that_is_too_long_goes_on_as_far_in_as_it_began():
    console = PlainConsole(width=30, file=io.StringIO())
    console.print(Text(f"{WORDS}\n    {WORDS}\n  short"))
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "The ferry leaves the quay at",
        "six and comes back at nine.",
        "    The ferry leaves the quay",
        "    at six and comes back at",
        "    nine.",
        "  short",
    ]


def test_a_word_that_a_table_cuts_off_is_cut_off_where_it_is_indented_too():
    console = PlainConsole(width=20, file=io.StringIO())
    table = Table("one", box=None, pad_edge=False)
    table.add_row(Text(f"  {'a' * 500}"))
    console.print(table)
    assert len(console.file.getvalue().splitlines()) < 5


def test_what_is_not_wrapped_is_left_whole():
    console = PlainConsole(width=30, file=io.StringIO())
    console.print(Text(f"    {WORDS}"), soft_wrap=True)
    assert console.file.getvalue() == f"    {WORDS}\n"


def test_a_passage_is_cut_at_the_width_of_the_terminal(monkeypatch):
    terminal(monkeypatch)
    text = WORDS * 6
    shown = hit_text(1, *hit_of(text), "nine", full=True).plain.splitlines()[2:]
    assert len(shown) > 1
    assert all(line.startswith("   ") and len(line) <= 60 for line in shown)
    assert "".join(line[3:] + " " for line in shown).split() == text.split()


@pytest.mark.parametrize("text", [CHINESE * 8, f"# {WORDS}\n\n🚢🚢 {CHINESE} {WORDS}" * 4], ids=["Chinese", "mixed"])
def test_letters_of_two_columns_leave_none_in_a_line_of_its_own(monkeypatch, text):
    terminal(monkeypatch)
    cut = _cut_for(text)(text)
    assert "".join(line for _, line in cut) == text
    assert all(text.startswith(line, start) for start, line in cut)
    columns = [cell_len(line.rstrip()) for _, line in cut]
    assert max(columns) <= 60 - INDENT
    assert text != CHINESE * 8 or min(columns[:-1]) >= 60 - INDENT - 2


def test_a_word_that_a_line_ends_within_is_found_and_marked(monkeypatch):
    terminal(monkeypatch)
    text = f"{'很' * (28 * 12 - 1)}。\n\n{'远' * 27}钟楼{'远' * (28 * 12)}"
    shown = hit_text(1, *hit_of(text), "钟楼", full=False)
    marked = [shown.plain[span.start : span.end] for span in shown.spans if span.style == "yellow"]
    assert marked == ["钟", "楼"]
    assert "钟\n   楼" in shown.plain


@pytest.mark.parametrize(("heading", "shown"), [("Ferry > Times", "Times"), ("Ferryman > Times", "Ferryman > Times"),
                                                ("Ferry", ""), ("Times", "Times"), (None, "")])  # fmt: skip
def test_a_heading_is_shown_without_the_title_that_it_begins_with(heading, shown):
    hit, entry = hit_of(WORDS)
    hit = replace(hit, passage=replace(hit.passage, heading=heading))
    line = hit_text(1, hit, entry, "six", full=True).plain.splitlines()[0]
    assert line == ("1. Ferry › " + shown).removesuffix(" › ")


@pytest.mark.parametrize("text", [f"{WORDS}\n\n{WORDS * 3}", f"A word such as six{'x' * 90} or six."])
@pytest.mark.parametrize("full", [False, True])
def test_all_that_is_marked_was_asked_for(monkeypatch, text, full):
    terminal(monkeypatch)
    shown = hit_text(1, *hit_of(text), "six", full=full)
    marked = [shown.plain[span.start : span.end] for span in shown.spans if span.style == "yellow"]
    assert marked == ["six"] * len(re.findall(r"\bsix\b", text))


@pytest.mark.parametrize("heading", ["A heading of many words > and another one", CHINESE, None])
@pytest.mark.parametrize("text", [WORDS * 3, CHINESE * 3, "🚢" * 90], ids=["words", "Chinese", "emoji"])
def test_a_cut_text_has_a_line_for_each_passage(monkeypatch, heading, text):
    stream = terminal(monkeypatch)
    shown_passages([Passage(Span("d", n, n + 1000), text, heading) for n in (0, 1000, 9000)], as_json=False)
    lines = unstyled(stream).splitlines()
    assert len(lines) == 4
    assert all(cell_len(line) <= 60 for line in lines)
    assert [line.split()[:2] for line in lines[1:]] == [["0", "1000"], ["1000", "2000"], ["9000", "10000"]]
    assert all(text[:5] in line for line in lines[1:])
    assert all(cell_len(line.rstrip()) >= 56 for line in lines[1:])  # the room is used


def test_a_text_without_passages_has_a_head_alone(monkeypatch):
    stream = terminal(monkeypatch)
    shown_passages([], as_json=False)
    assert unstyled(stream).split() == ["start", "end", "heading", "begins"]


def test_a_list_in_80_columns_has_room_for_titles(tmp_path, monkeypatch):
    (tmp_path / "ferry.md").write_text("# The ferry of the old quay\n\nIt leaves at six.\n")
    run("add", tmp_path / "ferry.md", "--encoder", "none", home=tmp_path / "home")
    monkeypatch.setitem(PLAIN, "COLUMNS", "80")
    shown = run("list", home=tmp_path / "home").stdout
    assert "passages" not in shown
    assert "The ferry of the old quay" in shown


@pytest.mark.parametrize("columns", [60, 80, WIDE - 1, WIDE])
def test_the_names_of_models_are_whole(tmp_path, monkeypatch, columns):
    monkeypatch.setitem(PLAIN, "COLUMNS", str(columns))
    shown = run("models", home=tmp_path).stdout
    assert "…" not in shown
    assert all(f"{name} " in shown for name in OFFLINE)
    assert all((model.hub_id in shown) == (columns >= WIDE) for model in OFFLINE.values())


def test_a_date_that_no_document_has_is_said(tmp_path):
    (tmp_path / "plain.txt").write_text("The ferry leaves at six.\n")
    (tmp_path / "dated.md").write_text("---\ntitle: Rain\ndate: 2024-02-03\n---\nIt rained.\n")
    home, dates = tmp_path / "home", ("--where", "published>=2030-01-01")

    def said(*more: str) -> str:
        return " ".join(run("search", "ferry", *dates, *more, home=home).stderr.split())

    run("add", tmp_path / "plain.txt", "--encoder", "none", home=home)
    assert "No document has a date" in said()
    assert "has a date" not in " ".join(run("search", "ferry", "--where", "published_by=me", home=home).stderr.split())
    run("add", tmp_path / "dated.md", home=home)
    assert "has a date" not in said()
    assert "No document that fulfils the other conditions has a date" in said("--where", "title=plain")
    assert "other conditions has a date" in said("--where", "title=plain", "--where", "page<=1")
    assert "has a date" not in said("--where", "kind=mail")


def test_a_library_that_grows_by_compacting_is_explained(tmp_path):
    for n in range(2):
        (tmp_path / f"{n}.txt").write_text(WORDS * 50)
        run("add", tmp_path / f"{n}.txt", "--encoder", "none", home=tmp_path / "home")
    assert "was replaced in the last minute stays" in run("admin", "compact", home=tmp_path / "home").stderr


def test_who_was_added_is_told_how_they_get_in(tmp_path):
    added = run("admin", "user", "add", "ana@example.org", home=tmp_path).stdout
    assert "They sign in at /login of the site, by a link that is mailed" in added


def test_a_list_of_subscriptions_leaves_addresses_whole(tmp_path, monkeypatch):
    monkeypatch.setitem(PLAIN, "COLUMNS", "80")
    run("digest", "subscribe", "ana.ferreira@example.org", home=tmp_path)
    shown = run("admin", "subscriptions", home=tmp_path).stdout
    assert "1 subscription" in shown
    assert "1 subscriptions" not in shown
    assert "ana.ferreira@example.org" in shown


def test_a_list_of_people_cuts_no_address_off(tmp_path, monkeypatch):
    monkeypatch.setitem(PLAIN, "COLUMNS", "80")
    address = "ana.ferreira.de.vasconcelos@department.example.org"
    run("admin", "user", "add", address, "--name", "Ana Ferreira", "--login", "ana", home=tmp_path)
    head, *lines = run("admin", "user", "list", home=tmp_path).stdout.splitlines()
    begin, end = head.index("address"), head.index("role")
    assert "".join(line[begin:end].strip() for line in lines) == address


def test_a_list_of_documents_cuts_no_path_off(tmp_path, monkeypatch):
    monkeypatch.setitem(PLAIN, "COLUMNS", "80")
    text = tmp_path / ("long_name_without_blanks_" * 3) / "ferry.txt"
    text.parent.mkdir()
    text.write_text("The ferry leaves at six.\n")
    run("add", text, "--encoder", "none", home=tmp_path / "home")
    head, *lines = run("list", home=tmp_path / "home").stdout.splitlines()
    assert "".join(line[head.index("source") :].strip() for line in lines) == str(text)


def test_events_do_not_tell_of_nothing(tmp_path):
    record = {"title": "Quake hits the coast near Elazig", "published_at": "2023-05-01T08:00:00Z"}
    (tmp_path / "feed.jsonl").write_text(json.dumps(record) + "\n")
    told = run("events", tmp_path / "feed.jsonl", "--at", "2023-05-02", home=tmp_path / "home").stderr
    assert told.strip().endswith("1 document.")
