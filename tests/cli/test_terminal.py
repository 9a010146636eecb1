"""The terminal is not steered by what is shown in it; streams that are closed, or of another encoding, are no error."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import time

import pytest
import typer
from cli.test_cli import FOVEAL, run

from foveal.cli import characters, main, output
from foveal.library import Library

STEERING = "A \x1b[31mred\x1b]0;owned\x07 and a \x9b2J title"
SHOWN = "A [31mred]0;owned and a 2J title"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steered")
    (folder / "page.md").write_text(f"# {STEERING}\n\nThe ferry leaves at six.\n", encoding="utf-8")
    run("add", folder / "page.md", "--encoder", "none", home=folder / "home")
    return folder / "home"


def test_a_page_cannot_steer_the_terminal(home):
    for command in (("list",), ("search", "ferry"), ("search", "ferry", "--full")):
        shown = run(*command, home=home).stdout
        assert SHOWN in shown
        assert "\x1b" not in shown
        assert "\x9b" not in shown
    told = run("list", "--json", home=home).stdout
    assert json.loads(told)[0]["title"] == STEERING
    assert not characters.CONTROL.search(told)
    assert "\x1b" not in run("show", STEERING, home=home, status=1).stderr


def test_a_text_is_whole_for_a_program_and_plain_for_a_person(home, monkeypatch):
    one = json.loads(run("list", "--json", home=home).stdout)[0]["id"]
    assert STEERING in run("show", one, home=home).stdout
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.echo(f"{STEERING}\r\n\tnext")
    assert sys.stdout.getvalue() == f"{SHOWN}\n\tnext"


def test_styles_of_our_own_pass(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.results().print(f"[bold]{SHOWN[:1]}[/]{STEERING}")
    assert sys.stdout.getvalue() == f"\x1b[1mA\x1b[0m{SHOWN}\n"


def test_who_waits_for_a_library_is_told_so_at_once_and_a_program_is_not(home, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    def opened(**_):
        until = time.monotonic() + 20 * sys.stderr.isatty()
        while "Opening" not in sys.stderr.getvalue() and time.monotonic() < until:
            time.sleep(0.05)
        return sys.stderr.getvalue()

    monkeypatch.setattr(Library, "open", opened)
    for stream, told in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        assert ("Opening the library" in output.open_library(home)) == told


@pytest.mark.parametrize("as_json", [False, True], ids=["words", "json"])
def test_a_log_cannot_steer_the_terminal(as_json, capsys):
    logger = logging.getLogger("foveal")
    before = logger.handlers, logger.level
    try:
        output.log_to_stderr(0, as_json=as_json)
        logger.warning("%s", STEERING)
    finally:
        logger.handlers, logger.level = before
    assert not characters.CONTROL.search(capsys.readouterr().err)


def test_an_encoding_that_lacks_a_sign_shows_another(home):
    env = {**os.environ, "FOVEAL_HOME": str(home), "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    for command in (["search", "ferry"], ["list", "--json"]):
        done = subprocess.run([*FOVEAL, *command], env=env, capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert done.stdout.isascii()


@pytest.mark.parametrize("closed", ["stdin", "stdout"])
def test_a_closed_stream_is_an_empty_one(closed, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["foveal", "models", "--home", str(tmp_path)])
    monkeypatch.setattr(sys, closed, None)
    with pytest.raises(SystemExit) as stop:
        main.run()
    assert not stop.value.code
    getattr(sys, closed).close()


# -- what is said in the wrong words ----------------------------------------------------------------------------------


def test_an_empty_source_is_not_the_folder_one_stands_in(tmp_path, monkeypatch):
    (tmp_path / "private.txt").write_text("What nobody asked for.\n")
    monkeypatch.chdir(tmp_path)
    said = run("add", "", "--encoder", "none", home=tmp_path / "home", status=2)
    assert "A source is empty" in said.stderr
    assert not (tmp_path / "home").exists()


def test_words_that_would_do_nothing_are_refused(home, tmp_path):
    assert "compared with itself" in run("ab", "ferry", "--a", "fresh", home=home, status=2).stderr
    assert "by its NAME" in run("papers", "topics", "--query", "q", home=tmp_path, status=2).stderr
    assert "There are: unconfirmed" in run("admin", "subscriptions", "--state", "x", home=tmp_path, status=1).stderr
    assert "https://papers.example.org" in run("serve", "--url", "papers.org", home=tmp_path, status=2).stderr
    assert "Error: 'soon' is no date" in run("train", "events", "--before", "soon", home=tmp_path, status=1).stderr
    assert "--url got" in run("serve", "--url", "http://[x", home=tmp_path, status=2).stderr
    series = tmp_path / "series.csv"
    series.write_text("date,a\n" + "".join(f"2024-01-01,{n}\n" for n in range(300)))
    forecast = ("train", "aaren", "forecast", "--data", series, "--mixer", "linear", "--width", 8)
    assert "has no layers" in run(*forecast, home=tmp_path, status=1).stderr


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path):
    said = run("papers", "export", "--all", "-o", tmp_path, home=tmp_path / "home", status=1).stderr
    assert str(tmp_path) in said
    assert ".partial" not in said


def test_a_ledger_takes_the_place_of_no_other_file(tmp_path):
    (tmp_path / "x.json").write_text('["mine"]')
    asked = ("research", "Which?", "--report", "--source", f"dir:{tmp_path}", "--url", "http://127.0.0.1:9/v1")
    said = run(*asked, "--answerer", "m", "--out", tmp_path / "x.md", home=tmp_path / "home", status=1)
    assert "where another file is" in said.stderr
    assert (tmp_path / "x.json").read_text() == '["mine"]'
    assert not (tmp_path / "x.md").exists()


# -- JSON for programs ------------------------------------------------------------------------------------------------

NO_JSON = {
    ("serve",),  # goes on until it is stopped
    ("mcp",),  # its words are the protocol's
    ("headline", "annotate"),  # a talk
    ("papers", "open"),  # prints an address
    ("papers", "export"),  # writes in a form of its own
    ("admin", "user", "export"),  # JSON as it is
}


def commands(of, path=()):
    for name, one in of.commands.items():
        yield from commands(one, (*path, name)) if hasattr(one, "commands") else [((*path, name), one)]


def test_every_command_has_json_for_programs():
    found = {
        path: {name for one in made.params for name in one.opts}
        for path, made in commands(typer.main.get_command(main.app))
    }
    assert {path for path, names in found.items() if "--json" not in names} == NO_JSON


def test_a_command_line_makes_its_own_command_alone_and_makes_it_the_same():
    every = typer.main.get_command(main.app)
    assert list(every.commands) == [*(name for names in main.COMMANDS.values() for name in names), *main.GROUPS]
    for path, made in commands(every):
        narrow = typer.main.get_command(main.tree([*path, "whatever", "--follows"]))
        ((found, one),) = commands(narrow)
        assert found == path
        assert one.help == made.help
        assert [(each.name, each.opts, each.required) for each in one.params] == [
            (each.name, each.opts, each.required) for each in made.params
        ]
    for words in ([], ["--help"], ["serch"], ["-v", "search"]):
        assert list(typer.main.get_command(main.tree(words)).commands) == list(every.commands)
    papers = typer.main.get_command(main.tree(["papers", "pikc"]))
    assert list(papers.commands) == ["papers"]
    assert list(papers.commands["papers"].commands) == list(every.commands["papers"].commands)


def test_a_command_imports_no_other_commands():
    code = (
        "import sys; from foveal.cli import main; main.tree(['search', 'x']); "
        "print(sorted(name for name in sys.modules if name.startswith('foveal.cli.papers')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_json_of_what_changes_something(tmp_path):
    def told(*arguments):
        return json.loads(run(*arguments, "--json", home=tmp_path).stdout)

    run("admin", "user", "add", "ana@example.org", "--login", "ana", home=tmp_path)
    assert told("admin", "user", "role", "ana", "curator")["role"] == "curator"
    assert told("admin", "user", "remove", "ana", "--yes") == {"removed": "ana"}
    assert told("digest", "preview") is None
    assert told("digest", "subscribe", "ana@example.org")["address"] == "ana@example.org"  # the mail goes to stderr
    assert "ana@example.org" in told("digest", "unsubscribe", "ana@example.org")["said"]
    assert told("research", "watch", "remove", str(told("research", "watch", "add", "Which?")["watch"])) == {
        "removed": 1
    }


def test_ctrl_c_while_the_commands_are_made_is_no_traceback(monkeypatch, capsys):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "tree", stopped)
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 130
    assert "Stopped." in capsys.readouterr().err


def test_ctrl_c_while_the_program_is_loaded_is_no_traceback(tmp_path):
    (tmp_path / "typer.py").write_text("raise KeyboardInterrupt\n")  # what is loaded first, stopped there
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from foveal.__main__ import run; run()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_that_a_library_tells_as_a_missing_part_of_it_is_no_traceback(monkeypatch, capsys):
    def loading(_):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as stop:
            raise ModuleNotFoundError("Could not import module 'TrainerCallback'.") from stop

    monkeypatch.setattr(main, "tree", loading)
    with pytest.raises(SystemExit) as end:
        main.run()
    assert end.value.code == 130
    assert "Stopped." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("too_large", "said"),
    [
        (lambda: bytes(10**20), "larger than any"),
        (lambda: bytearray(10**15), "memory does not suffice"),
        (lambda: pytest.importorskip("torch").empty(10**20), "larger than any"),
        (lambda: pytest.importorskip("torch").empty(10**9, 10**6), "memory does not suffice"),
    ],
    ids=["a number", "memory", "a size of a tensor", "memory of a tensor"],
)
def test_a_size_that_no_machine_has_is_told_in_a_line(monkeypatch, capsys, too_large, said):
    monkeypatch.setattr(main, "tree", lambda _: too_large)
    with pytest.raises(SystemExit) as stopped:
        main.run()
    shown = capsys.readouterr().err
    assert stopped.value.code == 1
    assert said in shown
    assert len(shown.splitlines()) == 1


@pytest.mark.parametrize(
    "command",
    [("search", "ferry"), ("events",), ("segment", "FILE"), ("stiffness", "minilm"), ("heads", "sinks", "FILE")],
    ids=lambda words: words[0],
)
def test_a_picture_that_cannot_be_drawn_is_said_before_the_work(home, tmp_path, command):
    (tmp_path / "a.md").write_text("The ferry leaves at six.\n")
    (tmp_path / "folder.png").mkdir()
    words = [str(tmp_path / "a.md") if word == "FILE" else word for word in command]
    for name, said in (
        ("drawn.PNG", "must end in .png"),
        ("folder.png", "directory|folder"),
        ("a.md/x.png", "Nothing"),
    ):
        told = run(*words, "--picture", tmp_path / name, home=home, status=2)
        assert re.search(said, told.stderr)
        assert not told.stdout
