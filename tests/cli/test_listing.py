"""A person with mails and thousands of notes: lists that can be narrowed, who wrote and when, short reports."""

from __future__ import annotations

import json

import pytest
from cli.test_cli import PLAIN, run

from foveal.cli import listing

NOTES = {
    "2023/mill.md": "---\ntitle: The mill\ndate: 2023-05-01\ntags: [work]\n---\nThe heron stands beside the wheel.\n",
    "2024/rain.md": "---\ntitle: Rain\ndate: 2024-02-03\ntags: [home]\n---\nIt rained on the heron all day.\n",
    "2024/plain.md": "# Plain\n\nNo heron was seen.\n",
}
MAIL = "Subject: Books\nFrom: Ada Gray <ada@example.org>\nDate: Mon, 3 Jun 2024 09:12:00 +0000\n\nThe books are here.\n"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder of notes and mail, and a home that holds them."""
    folder, home = tmp_path_factory.mktemp("shelf"), tmp_path_factory.mktemp("home")
    for name, text in NOTES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "books.eml").write_text(MAIL)
    for n in range(9):
        (folder / f"picture{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    (folder / "old.zip").write_bytes(b"PK\x03\x04")
    said = run("add", folder, "--encoder", "none", home=home)
    return folder, home, said


def titles(said) -> set[str]:
    rows = [line for line in said.stdout.splitlines()[1:] if not line.startswith(" ")]  # not where a path goes on
    return {line.split("  ")[1].strip() for line in rows}


def test_many_files_that_are_left_out_for_one_reason_are_told_in_one_line(shelf):
    _, _, said = shelf
    told = [line.strip() for line in said.stderr.splitlines() if "skipped" in line]
    assert len(told) == 2
    assert told[0].endswith("old.zip is an archive. Unpack it first.")
    assert "picture0.png is a picture: of a folder they are not read." in told[1]
    assert "8 more for the same reason" in told[1]


def test_a_list_is_narrowed_by_a_folder_and_by_conditions(shelf):
    folder, home, _ = shelf
    assert titles(run("list", home=home)) == {"The mill", "Rain", "Plain", "Books"}
    assert titles(run("list", folder / "2024", home=home)) == {"Rain", "Plain"}
    assert titles(run("list", "--where", "published>=2024-01-01", home=home)) == {"Rain", "Books"}
    assert titles(run("list", folder / "2024", "--where", "tags~home", home=home)) == {"Rain"}
    (one,) = json.loads(run("list", "--where", "title=Books", "--json", home=home).stdout)
    assert titles(run("list", "--where", f"document={one['id'][:8]}", home=home)) == {"Books"}
    nothing = run("list", "--where", "knid=mail", home=home)
    assert "No document fits." in nothing.stdout
    assert "No document has knid" in nothing.stderr
    assert "of passages" in run("list", "--where", "page=3", home=home, status=1).stderr


def test_a_long_list_says_what_a_short_one_says(shelf, monkeypatch):
    _, home, _ = shelf
    monkeypatch.setitem(PLAIN, "COLUMNS", "300")
    short = run("list", home=home).stdout
    monkeypatch.setattr(listing, "TABLE", 0)
    assert [line.split() for line in run("list", home=home).stdout.splitlines()] == [
        line.split() for line in short.splitlines()
    ]
    assert "2024-06-03" in short


def test_a_name_with_a_line_break_stays_in_its_row(tmp_path, monkeypatch):
    monkeypatch.setitem(PLAIN, "COLUMNS", "300")
    (tmp_path / "two\nlines.txt").write_text("No heron was seen.\n")
    run("add", tmp_path, "--encoder", "none", home=tmp_path / "home")
    _head, row = run("list", home=tmp_path / "home").stdout.splitlines()
    assert row.rstrip().endswith("two lines.txt")


def test_a_hit_says_who_wrote_and_when_and_begins_behind_the_front_matter(shelf):
    _, home, _ = shelf
    mail = run("search", "books", home=home).stdout
    assert "Ada Gray" in mail
    assert "2024-06-03" in mail
    note = run("search", "heron wheel", "-k", 1, home=home).stdout
    assert "tags:" not in note
    assert "2023-05-01" in note
    start = NOTES["2023/mill.md"].index("The heron")
    assert f" {start}:{len(NOTES['2023/mill.md'])} " in note
    which = note.split()[3]
    span = f"{start}:{len(NOTES['2023/mill.md'])}"
    assert run("show", which, "--span", span, home=home).stdout.startswith("The heron stands")
    assert "tags:" in run("search", "heron wheel", "-k", 1, "--full", home=home).stdout
    (hit,) = json.loads(run("search", "heron wheel", "-k", 1, "--json", home=home).stdout)["hits"]
    assert hit["quote"] == NOTES["2023/mill.md"]
    assert hit["published"].startswith("2023-05-01")


def test_a_narrow_terminal_shows_what_names_a_document(shelf, monkeypatch):
    _, home, _ = shelf
    monkeypatch.setitem(PLAIN, "COLUMNS", "40")
    narrow = run("list", home=home).stdout
    assert {one["id"][:8] for one in json.loads(run("list", "--json", home=home).stdout)} <= set(narrow.split())
    assert "passages" not in narrow
    assert max(map(len, narrow.splitlines())) <= 40
    monkeypatch.setitem(PLAIN, "COLUMNS", "100")
    assert "passages" in run("list", home=home).stdout


def test_a_title_of_thousands_of_characters_does_not_widen_all_rows(tmp_path):
    (tmp_path / "long.md").write_text(f"---\ntitle: {'very ' * 400}long\n---\nIt rained.\n")
    (tmp_path / "short.md").write_text("# Short\n\nIt did not.\n")
    run("add", tmp_path / "long.md", tmp_path / "short.md", "--encoder", "none", home=tmp_path / "home")
    lines = run("list", home=tmp_path / "home").stdout.splitlines()
    assert max(map(len, lines)) < listing.LONGEST + 200
    assert any("very very" in line and "…" in line for line in lines)
